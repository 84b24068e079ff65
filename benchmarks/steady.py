"""Sends events to stdout at a steady rate until the calendar ends: `python -m benchmarks.steady RATE ENDS_AT SECONDS DAYS`.

Each event's timestamp is the simulated time at which it was meant to be sent. Who reads slowly makes the sender late, but what
was due meanwhile is sent at once and says when it was due. The users are few, so that there are soon as many memberships as
stay. Some events are late, some come twice, and some lines are no event, as in life.
"""

import os
import sys
import time
from collections.abc import Iterator
from itertools import count, islice
from secrets import randbits

from benchmarks.ageing import Calendar
from loader.generate import generate

USERS, SEGMENTS = 2000, 40
SHARES = {"late": 0.01, "values": 0.05, "duplicates": 0.01, "invalid": 0.001}
TICKS = 20
"""How often a second events are sent, in one go."""


def lines(rate: float, calendar: Calendar, began: float) -> Iterator[bytes]:
    """The events of a run that begins then, without end; `rate` is by the clock."""
    start, seed = calendar.simulated(began), randbits(63)
    chunks = generate(count=None, start=start, rate=rate / calendar.speed, seed=seed, users=USERS, segments=SEGMENTS, **SHARES)
    return (line for _, chunk in chunks for line in chunk)


def send(rate: float, calendar: Calendar) -> None:
    """Send each tick what is due in it."""
    began = time.time()
    stream = lines(rate, calendar, began)
    for tick in count(1):
        due = began + tick / TICKS
        if due > calendar.ends_at:
            return
        time.sleep(max(0.0, due - time.time()))
        write(b"".join(islice(stream, int(tick * rate / TICKS) - int((tick - 1) * rate / TICKS))))


def write(data: bytes) -> None:
    """Write all of it, however long it takes."""
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    RATE, ENDS_AT, SECONDS, DAYS = sys.argv[1:]
    send(float(RATE), Calendar(float(ENDS_AT), float(SECONDS), int(DAYS)))
