"""docs/benchmarks.md, made of the newest results: `python -m benchmarks.page`. The same results always make the same page."""

import os
import sys
from pathlib import Path

from benchmarks.plots import LATENCY, THROUGHPUT, complete, draw
from benchmarks.results import DOCS, RESULTS, Report, newest, read
from benchmarks.table import goals, table

PAGE = "benchmarks.md"

HEAD = """# Benchmarks

Made by `make bench`, all of this page: do not edit it. The raw data are in {link}. What was measured beside each other was
measured in turn, round by round, in one run; figures are medians of {rounds}, with the least and the greatest beside them.
"""

TRIAL = """
**A trial: it shows that everything runs, and its figures mean nothing.** The next whole run replaces it.
"""

SETUP = """
## The machine

{machine}.

{server}; what is not named is PostgreSQL's default. Durability is on: an event counts once its commit is on the disk. Everything
runs on this one machine, connected by a Unix socket and loopback: server, clients, sender and receiver share its cores.
"""

PLOTS = f"""
## Throughput against size, latency against rate

![Events a second, by the size of batches and by the memberships that are there already]({THROUGHPUT})

![Percentiles of the latency by the rate of events, for each delay of the receiver]({LATENCY})
"""

NOTES = """
## What it says

- The usual stream has 10,000 segments and a million users: three events in five make a key that is new to the batch. It is read
  from a file of NDJSON of {events:,} events, or of {fewer:,} where that would take long.
- COPY to a bare table has no key, no index, no check and no reducer, and its rows are prepared: no loader can be faster. The
  trigger for each row does what people write first, with fewer checks. DuckDB parses and reduces the whole file at once, into a
  file of its own, and knows no duplicates, no second batch and no reader: it is the floor of the work.
- The latency of a toggle is the time from its event's timestamp to the moment in which the receiver answers the call that brought
  it. The timestamp is the time at which the event was meant to be sent, whatever stalls: who is late is late in the figures, too.
  The sender writes into the pipe of a `loader stream`; neither that nor the listener has any options. The first second is not
  counted. Where few toggles come, p99.9 is about the slowest of them.
- A steady rate of toggles is written to segment_outcomes directly, in transactions of 100, and its timestamps are the times of
  writing. The rates of the backlog are without what the listener takes to start.

## How to repeat it

```sh
make bench
```

It takes up to 45 minutes on two cores that do nothing else; it starts a server of its own and removes it. The results are kept in
`benchmarks/results`, and the newest make this page. `make bench BENCH="--only latency"` measures a part, and
`make bench BENCH=--quick` shows in a minute that everything runs; what these find goes to `.demo/benchmarks`.
[performance.md](performance.md) says where the time goes.
"""


def make(file: Path = RESULTS, folder: Path = DOCS) -> None:
    """Write the page and its plots into a folder, from a report's file, or from the newest in the folder that this is."""
    file = newest(file) if file.is_dir() else file
    report = read(file)
    draw(report, folder)
    (folder / PAGE).write_text(page(report, os.path.relpath(file, folder)))


def page(report: Report, data: str) -> str:
    """The page; `data` is where the raw data are."""
    drawn = PLOTS if complete(report) else ""
    return "".join(
        [
            HEAD.format(link=f"[{report.file}]({data})", rounds=report.rounds),
            TRIAL * report.trial,
            SETUP.format(machine=listed(report.machine), server=listed(report.server)),
            drawn,
            f"\n## The figures\n\nMeasured on {report.measured_at[:10]}.\n\n{table(report)}\n",
            f"\n## The goals\n\n{goals(report)}\n",
            NOTES.format(events=report.sizes["events"], fewer=report.sizes["fewer_events"]),
        ]
    )


def listed(facts: dict[str, str]) -> str:
    """Facts on one line."""
    return ", ".join(f"{name} {fact}" for name, fact in facts.items())


if __name__ == "__main__":
    make(*map(Path, sys.argv[1:]))
