"""The demo's receiver as a process, so that its work is not the listener's: `python -m benchmarks.receiver DELAY [keep]`.

Prints its URL, receives until stdin ends, and prints what came as JSON; with `keep` also how old it was, by the moments that the
source put into the documents.
"""

import json
import re
import sys
from collections.abc import Sequence
from statistics import quantiles

from demo.calls import Call
from demo.webhook import Receiver

MOMENT = re.compile(rb'"value":"(\d{16})"')
SETTLING = 1.0
"""Seconds at the beginning that are not looked at: connections are made, plans and caches filled."""


def ages(call: Call) -> list[float]:
    """For each document, milliseconds from its writing to its arrival."""
    return [call.received_at * 1e3 - int(moment) / 1e3 for moment in MOMENT.findall(call.body)]


def settled(calls: Sequence[Call]) -> Sequence[Call]:
    """The calls of the steady state: without the first second, and without the last call, which is what was left."""
    return [call for call in calls if call.received_at > calls[0].received_at + SETTLING][:-1] if calls else []


def figures(calls: Sequence[Call]) -> dict[str, float]:
    """Documents a call, and the ages' percentiles in milliseconds."""
    steady = settled(calls)
    every = [age for call in steady for age in ages(call)]
    hundredths = quantiles(every, n=100)
    return {"documents_a_call": sum(call.count for call in steady) / len(steady), "p50": hundredths[49], "p99": hundredths[98]}


def main(delay: str, keep: str = "") -> None:
    """Receive."""
    with Receiver(keep=bool(keep)) as receiver:
        receiver.settings.delay = float(delay)
        print(receiver.url, flush=True)
        sys.stdin.read()
        print(json.dumps(vars(receiver.counters) | (figures(receiver.calls) if keep else {})))


if __name__ == "__main__":
    main(*sys.argv[1:])
