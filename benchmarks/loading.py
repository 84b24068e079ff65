"""The loader's benchmarks: from a file to committed memberships, beside COPY alone, a trigger for each row, and DuckDB."""

import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from benchmarks import row_trigger
from benchmarks.bench import MIGRATED, Bench
from benchmarks.events import MANY, filled, generate, load
from benchmarks.measurement import Comparison, Measurement, Place, Readings
from benchmarks.process import ROOT, Failed, measure
from benchmarks.results import Goal
from loader.event import Limits
from loader.ndjson import Lines, decode

CONNECTIONS = 2
CHUNK = 1 << 20
RATE = "events/s"
MEMORY = "MB of client memory"
COPY = f"COPY to a bare table, {CONNECTIONS} connections"
ROW_BY_ROW = f"COPY with a trigger for each row, {CONNECTIONS} connections"
DEFAULT_LANES = 2
SMALL, USUAL = 100, 10_000
"""Batches to compare."""

LEAST_OF_USUAL = {60: 0.4, 400: 0.25}
"""Days with partitions, and the least rate that small batches may have there, of that of usual ones."""


class Loading:
    """Loads one file in various ways, each time from the beginning."""

    def __init__(self, place: Place, file: Path, events: int) -> None:
        self.bench = place.bench
        self.file = file
        self.events = events

    @classmethod
    def of(cls, place: Place, events: int, *options: str) -> "Loading":
        """Loads so many events, once it has made them."""
        name = "-".join(["events", str(events), *options]).replace("--", "")
        return cls(place, generate(place.folder / name, events, *MANY, *options), events)

    def loader(self, *options: str, template: str = MIGRATED) -> Readings:
        """By the loader."""
        self.bench.empty(template)
        usage = load(self.bench, self.file, *options)
        return {
            RATE: self.events / usage.seconds,
            "µs of client CPU an event": usage.cpu_seconds / self.events * 1e6,
            MEMORY: usage.peak_bytes / 1e6,
        }

    def copy(self, table: str, files: Sequence[Path]) -> Readings:
        """By COPY into a table of `row_trigger`."""
        self.bench.empty()
        row_trigger.install(self.bench)
        return {RATE: self.events / copied(self.bench, files, table)}

    def batch_engine(self) -> Readings:
        """By DuckDB, into a file of its own."""
        target = self.file.with_suffix(".duckdb")
        target.unlink(missing_ok=True)
        usage = measure([sys.executable, "-m", "benchmarks.batch_engine", self.file, target, str(CONNECTIONS)], {})
        return {RATE: self.events / usage.seconds}


def warm_up(place: Place) -> None:
    """Load once: a new server makes its log's files, one that has run for a while has them."""
    Loading.of(place, place.sizes.events).loader()


def lanes(place: Place) -> Sequence[Measurement]:
    """The loader with each number of lanes, and what it stands between."""
    usual = Loading.of(place, place.sizes.events)
    halves = prepared(usual.file)
    goals = [
        Goal(RATE, least=100_000),
        Goal(RATE, least=0.085, of=COPY),
        Goal(RATE, least=1.8, of=ROW_BY_ROW),
        Goal(MEMORY, most=150),
    ]
    return [
        Measurement(COPY, partial(usual.copy, "bare", halves)),
        Measurement(f"DuckDB, one batch, {CONNECTIONS} threads", usual.batch_engine),
        Measurement(ROW_BY_ROW, partial(usual.copy, "row_by_row", halves)),
        *(
            Measurement(
                lanes_named(number),
                partial(usual.loader, "--lanes", str(number)),
                goals if number == DEFAULT_LANES else [],
                {"lanes": number},
            )
            for number in place.sizes.lanes
        ),
    ]


def lanes_named(number: int) -> str:
    """A number of lanes."""
    return f"loader, {number} lane{'s' * (number > 1)}"


def batches(place: Place) -> Sequence[Measurement]:
    """Each size of batches, and small and usual ones again with many more partitions."""
    usual = Loading.of(place, place.sizes.fewer_events)
    first, *others = place.sizes.partitions
    sizes = {first: place.sizes.batches} | dict.fromkeys(others, (SMALL, USUAL))
    return [
        Measurement(
            batches_named(size, days),
            partial(usual.loader, "--batch-size", str(size), template=with_partitions(place.bench, days)),
            [Goal(RATE, least=LEAST_OF_USUAL[days], of=batches_named(USUAL, days))] if size == SMALL else [],
            {"events a batch": size, "days of partitions": days},
        )
        for days, found in sizes.items()
        for size in found
    ]


def batches_named(size: int, days: int) -> str:
    """A size of batches."""
    return f"batches of {size:,}, {days} days of partitions"


def with_partitions(bench: Bench, days: int) -> str:
    """The name of a database to copy, which has partitions for so many days."""
    name = f"days_{days}"
    if not bench.has(name):
        bench.empty()
        bench.fetch(f"select segment_ensure_partitions(current_date - {days - 2}, current_date + 1)")
        bench.keep(name)
    return name


def memberships(place: Place) -> Sequence[Measurement]:
    """Beside each number of memberships that are there already."""
    usual = Loading.of(place, place.sizes.fewer_events)
    few, *_, many = place.sizes.memberships
    return [
        Measurement(
            memberships_named(number),
            partial(usual.loader, template=filled(place.bench, number)),
            [Goal(RATE, least=0.7, of=memberships_named(few))] if number == many else [],
            {"memberships": number},
        )
        for number in place.sizes.memberships
    ]


def memberships_named(number: int) -> str:
    """A number of memberships."""
    return f"beside {number:,} memberships"


def streams(place: Place) -> Sequence[Measurement]:
    """Streams of several kinds."""
    events = place.sizes.fewer_events
    usual = Loading.of(place, events)
    return [
        Measurement(USUAL_STREAM, usual.loader),
        Measurement("a fifth of it by five bots", Loading.of(place, events, "--bots", "0.2").loader),
        Measurement("a tenth of it late", Loading.of(place, events, "--late", "0.1").loader),
        Measurement(
            "one in a hundred a duplicate",
            Loading.of(place, events, "--duplicates", "0.01").loader,
            [Goal(RATE, least=0.6, of=USUAL_STREAM)],
        ),
        Measurement("500 segments, 10,000 users", Loading.of(place, events, "--segments", "500", "--users", "10000").loader),
    ]


USUAL_STREAM = "the usual stream"


def prepared(file: Path) -> list[Path]:
    """The file's events in COPY's text format, a file a connection, with all of a user's events in one of them."""
    limits = Limits(datetime.now(UTC) + timedelta(days=365), None)
    paths = [file.with_name(f"{file.name}-{number}") for number in range(CONNECTIONS)]
    lines = Lines(CHUNK)
    with ExitStack() as stack:
        source = stack.enter_context(file.open("rb"))
        targets = [stack.enter_context(path.open("w")) for path in paths]
        while chunk := source.read(CHUNK):
            for block in lines.feed(chunk):
                for row in decode(block, limits)[0]:  # type: ignore[arg-type]
                    targets[row.bucket % CONNECTIONS].write(row.copy)
    return paths


def copied(bench: Bench, files: Sequence[Path], table: str) -> float:
    """Copy the files to a table, all at the same time; return the seconds that it took."""
    bench.settle()
    began = time.monotonic()
    commands: list[list[str | Path]] = [
        [bench.server.bin / "psql", "-qXv", "ON_ERROR_STOP=1", "-c", f"\\copy {table} ({row_trigger.COLUMNS}) from '{file}'"]
        for file in files
    ]
    running = [subprocess.Popen(command, cwd=ROOT, env=bench.environment("postgres")) for command in commands]
    ended = [process.wait() for process in running]
    if any(ended):
        raise Failed
    return time.monotonic() - began


LANES = Comparison("lanes", "How fast do events go from a file to committed memberships?", lanes, COPY)
BATCHES = Comparison("batches", "What does the size of batches do?", batches, batches_named(USUAL, min(LEAST_OF_USUAL)))
MEMBERSHIPS = Comparison("memberships", "What do the memberships do that are there already?", memberships)
STREAMS = Comparison("streams", "What do bots, late events, duplicates and frequent toggles do?", streams, USUAL_STREAM)
