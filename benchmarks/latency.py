"""End to end: from the time at which an event was meant to be sent to the answer of the webhook that heard of it."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import IO

from benchmarks.bench import Bench, await_that, receiver
from benchmarks.events import LOADER, generate, load
from benchmarks.measurement import Comparison, Measurement, Place, Readings
from benchmarks.process import ROOT, Failed
from benchmarks.results import Goal

LIVED_IN = "lived_in"
"""A database in which events have come before, so that toggles are as frequent as they stay."""

BEFORE = timedelta(hours=1)
"""How long ago they began: all of them are in the past."""

GOAL = 10_000, 0, 250
"""Events a second, milliseconds that the receiver takes, and milliseconds within which 99 of 100 toggles are to be answered."""

TOGGLES = "select count(*) from segment_toggles where batch_id > {}"
LAST = "select max(batch_id) from segment_batches"


def prepare(place: Place) -> Sequence[Measurement]:
    """Every rate with every delay."""
    place.bench.empty()
    start = datetime.now(UTC) - BEFORE
    load(place.bench, generate(place.folder / "before", place.sizes.fewer_events, "--start", start.isoformat()))
    place.bench.keep(LIVED_IN)
    return [
        Measurement(
            f"{rate:,} events/s, receiver takes {delay} ms",
            partial(end_to_end, place.bench, rate, delay, place.sizes.seconds),
            [Goal("ms, p99", most=GOAL[2])] if (rate, delay) == GOAL[:2] else [],
            {"events/s": rate, "delay": delay},
        )
        for delay in place.sizes.delays
        for rate in place.sizes.rates
    ]


def end_to_end(bench: Bench, rate: int, delay: int, seconds: int) -> Readings:
    """Send, and wait until every toggle of what was sent is answered."""
    bench.empty(LIVED_IN)
    bench.settle()
    ((before,),) = bench.fetch(LAST)
    with receiver(delay, keep=True) as receiving, bench.listening(receiving):
        late = sent(bench, rate, seconds)
        ((toggles,),) = bench.fetch(TOGGLES.format(before))
        await_that(lambda: receiving.documents() == toggles)
    found = receiving.figures
    return {f"ms, {name}": found[name] for name in ("p50", "p99", "p99.9")} | {
        "toggles/s": toggles / seconds,
        "toggles a call": found["documents_a_call"],
        "ms that the sender was late at most": late,
    }


def sent(bench: Bench, rate: int, seconds: int) -> float:
    """Let the sender send into a loader, once both are ready; return the milliseconds by which it was late at most."""
    command = [sys.executable, "-m", "benchmarks.sender", str(rate), str(seconds)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe) as sender:
        until(sender.stderr, b"prepared")
        with loading(bench, sender.stdout):  # type: ignore[arg-type]
            _, late = sender.communicate()
    return float(late)


@contextmanager
def loading(bench: Bench, stream: IO[bytes]) -> Iterator[None]:
    """A loader of a stream, ready when the block begins; wait until it has loaded all, when the block ends."""
    command = [*LOADER, "stream"]
    environment = os.environ | bench.environment("segment_loader")
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=stream, stderr=subprocess.PIPE) as process:
        stream.close()  # the loader has it
        until(process.stderr, b"loading")
        yield
        _, said = process.communicate()
    if process.returncode:
        raise Failed(said.decode(errors="replace"))


def until(stream: IO[bytes] | None, word: bytes) -> None:
    """Wait until a program has said a word; raise Failed when it ends before, with what it said instead."""
    said = b""
    while not said.startswith(word):
        if stream is None or not (line := stream.readline()):
            raise Failed(said.decode(errors="replace"))
        said = line


LATENCY = Comparison("latency", "How long from an event's timestamp until the webhook has answered, over toggles?", prepare)
