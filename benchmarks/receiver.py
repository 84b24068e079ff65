"""The demo's receiver as a process, so that its work is not the listener's: `python -m benchmarks.receiver DELAY [keep]`.

Prints its URL, receives until stdin ends, and prints what came as JSON; with `keep` also the latency of the toggles: from an
event's timestamp to the moment at which the call that brought it is answered. What came is looked at only at the end.
"""

import json
import re
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from math import ceil
from typing import NamedTuple

from demo.calls import Call
from demo.webhook import Receiver

TIMESTAMP = re.compile(rb'^\[?\{"event":"[^"]{36}","timestamp":"([^"]+)"', re.MULTILINE)
SETTLING = 1.0
"""Seconds of events at the beginning that are not looked at: connections are made, plans and caches filled."""


SHARES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


class Answered(NamedTuple):
    """When a call was answered, and the times of its toggles; all in Unix time."""

    at: float
    timestamps: Sequence[float]


def read(at: float, body: bytes) -> Answered:
    """What counts of a call."""
    return Answered(at, [datetime.fromisoformat(found.decode()).timestamp() for found in TIMESTAMP.findall(body)])


def figures(calls: Sequence[Answered]) -> dict[str, float]:
    """Percentiles of the latency in milliseconds, over toggles, and documents a call, once it has settled."""
    begun = min(timestamp for call in calls for timestamp in call.timestamps)
    settled = [call for call in calls if max(call.timestamps) >= begun + SETTLING]
    latencies = sorted(1000 * (call.at - each) for call in settled for each in call.timestamps if each >= begun + SETTLING)
    sizes = [len(call.timestamps) for call in settled]
    return {"documents_a_call": sum(sizes) / len(sizes)} | {name: percentile(latencies, of) for name, of in SHARES.items()}


def percentile(ascending: Sequence[float], share: float) -> float:
    """The least number that such a share of the numbers does not exceed."""
    return ascending[ceil(share * len(ascending)) - 1]


def main(delay: str, keep: str = "") -> None:
    """Receive."""
    kept: list[tuple[float, bytes]] = []

    def note(call: Call) -> None:
        kept.append((time.time(), call.body))

    with Receiver(on_answer=note if keep else None) as receiver:
        receiver.settings.delay = float(delay)
        print(receiver.url, flush=True)
        sys.stdin.read()
        print(json.dumps(vars(receiver.counters) | (figures([read(*each) for each in kept]) if keep else {})))


if __name__ == "__main__":
    main(*sys.argv[1:])
