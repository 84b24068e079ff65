"""Sends events to stdout by a schedule that nothing moves: `python -m benchmarks.sender RATE SECONDS`; RATE is a multiple of 100.

Each event's timestamp is the time at which it was meant to be sent. Whoever reads slowly makes the sender late, but what was due
meanwhile is sent at once and says when it was due, so that a latency from the timestamp hides no stall. Prepares all events, says
so on stderr, begins once stdin has ended, and then says how late it was at most, in milliseconds.
"""

import os
import sys
import time
from datetime import UTC, datetime
from itertools import islice
from random import SystemRandom

from loader.generate import generate

TICKS = 100, 1000
"""How often a second events are sent, in one go: the more often, the more there are."""

MEANT = datetime(2000, 1, 1, tzinfo=UTC)
RFC_3339 = "%Y-%m-%dT%H:%M:%S.%fZ"
NO_TIME = b'"timestamp":"2000-01-01T00:00:00.000000Z"'


def prepared(rate: int, seconds: int) -> tuple[float, list[bytes]]:
    """Seconds from tick to tick, and what is to be sent at each, still without its time."""
    ticks = max(tick for tick in TICKS if rate % tick == 0)
    seed = SystemRandom().getrandbits(63)
    # So close to each other that all are within the microsecond that stands for their time.
    chunks = generate(count=rate * seconds, start=MEANT, rate=1e15, seed=seed)
    lines = (line for _, chunk in chunks for line in chunk)
    return 1 / ticks, [b"".join(islice(lines, rate // ticks)) for _ in range(ticks * seconds)]


def send(every: float, ticks: list[bytes]) -> float:
    """Send; return the seconds by which it was late at most."""
    began = time.time()
    late = 0.0
    for number, lines in enumerate(ticks):
        due = began + number * every
        time.sleep(max(0.0, due - time.time()))
        write(lines.replace(NO_TIME, b'"timestamp":"%b"' % datetime.fromtimestamp(due, UTC).strftime(RFC_3339).encode()))
        late = max(late, time.time() - due)
    return late


def write(data: bytes) -> None:
    """Write all of it, however long it takes."""
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    EVERY, LINES = prepared(*map(int, sys.argv[1:]))
    print("prepared", file=sys.stderr, flush=True)
    sys.stdin.read()
    print(1000 * send(EVERY, LINES), file=sys.stderr)
