"""The listener's benchmarks: against the limit, at a steady rate of toggles, and its memory."""

from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.bench import Bench, Receiving, await_that, receiver
from benchmarks.measurement import Comparison, Measurement, Place, Readings
from benchmarks.process import Usage
from benchmarks.results import Goal

LIMIT = "pg_recvlogical to /dev/null"
RATE = "toggles/s"
CPU = "toggles a client CPU second"
FEW = 100
"""Rows of next to nothing: one call, so that what is loaded for the first one counts as starting up."""

GOALS = {0: (10, 50), 50: (150, 200), 500: (1500, 2000)}
"""Milliseconds that the receiver takes to answer; within how many half of the toggles are to be answered, and 99 of 100."""

SLOW = 100
"""Milliseconds that the receiver of the memory's measure takes."""


class Backlog:
    """A backlog that is read again and again; what starting up takes is taken off."""

    def __init__(self, bench: Bench, rows: int) -> None:
        self.bench = bench
        self.rows = rows
        bench.empty()
        bench.mark()
        bench.write(rows)
        with receiver() as receiving, bench.slot(at_end=True) as slot:
            bench.write(FEW)
            self.starting = bench.catch_up(slot, receiving)

    def recvlogical(self) -> Readings:
        """By PostgreSQL's own client."""
        with self.bench.slot() as slot:
            usage = self.bench.recvlogical(slot)
        return {CPU: self.rows / usage.cpu_seconds, RATE: self.rows / usage.seconds}

    def from_slot(self) -> Readings:
        """By the listener, from the log."""
        with self.bench.slot() as slot:
            return self._read(partial(self.bench.catch_up, slot))

    def from_tables(self) -> Readings:
        """By the listener, as if its slot were lost."""
        return self._read(self.bench.from_start)

    def _read(self, catch_up: Callable[[Receiving], Usage]) -> Readings:
        with receiver() as receiving:
            usage = catch_up(receiving)
        return {
            CPU: self.rows / (usage.cpu_seconds - self.starting.cpu_seconds),
            RATE: self.rows / (usage.seconds - self.starting.seconds),
        }


def backlog(place: Place) -> Sequence[Measurement]:
    """A backlog read in every way."""
    found = Backlog(place.bench, place.sizes.backlog)
    fast = Goal(RATE, least=100_000)
    return [
        Measurement(LIMIT, found.recvlogical),
        Measurement("listener, from its slot", found.from_slot, [Goal(CPU, least=0.5, of=LIMIT), fast]),
        Measurement("listener, from the tables", found.from_tables, [fast]),
    ]


def steady(place: Place) -> Sequence[Measurement]:
    """Each delay of the receiver, at a steady rate."""
    rate = place.sizes.toggles_a_second
    return [
        Measurement(
            f"{rate:,} toggles/s, receiver takes {delay} ms",
            partial(latency, place.bench, rate, place.sizes.seconds, delay),
            [Goal(f"ms, {name}", most=most) for name, most in zip(("p50", "p99"), GOALS[delay], strict=True)],
        )
        for delay in place.sizes.delays
    ]


def latency(bench: Bench, rate: int, seconds: int, delay: int) -> Readings:
    """From the writing of a toggle to the answer of the call that brought it."""
    bench.empty()
    with receiver(delay, keep=True) as receiving, bench.listening(receiving):
        bench.write(rate * seconds, rate)
        await_that(lambda: receiving.documents() == rate * seconds)
    found = receiving.figures
    return {f"ms, {name}": found[name] for name in ("p50", "p99", "p99.9")} | {"toggles a call": found["documents_a_call"]}


def memory(place: Place) -> Sequence[Measurement]:
    """A large backlog and a receiver that is slow."""
    rows = place.sizes.large_backlog
    place.bench.empty()
    place.bench.mark()
    place.bench.write(rows)
    goal = Goal("MB of memory", most=200)
    return [Measurement(f"a backlog of {rows:,}, receiver takes {SLOW} ms", partial(peak, place.bench), [goal])]


def peak(bench: Bench) -> Readings:
    """The listener's most memory."""
    with receiver(SLOW) as receiving, bench.slot() as slot:
        return {"MB of memory": bench.catch_up(slot, receiving).peak_bytes / 1e6}


BACKLOG = Comparison("backlog", "How fast does the listener deliver what has gathered?", backlog, LIMIT)
STEADY = Comparison("steady", "How long from the writing of a toggle until the webhook has answered?", steady)
MEMORY = Comparison("memory", "How much memory does the listener take?", memory)
