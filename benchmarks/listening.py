"""The listener's benchmarks: against the limit, catching up, latency, memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from benchmarks.bench import Bench, Receiving, await_that, receiver
from benchmarks.process import Usage
from benchmarks.results import Figure


@dataclass(frozen=True)
class Sizes:
    """How much is measured: rows of backlogs, rounds of ratios, rows a second and seconds of each latency."""

    backlog: int = 300_000
    rounds: int = 5
    rate: int = 10_000
    seconds: int = 15
    memory_backlog: int = 5_000_000


QUICK = Sizes(backlog=50_000, rounds=1, rate=2000, seconds=3, memory_backlog=50_000)

FEW = 100
"""Rows of next to nothing: one call, so that what is loaded for the first one counts as starting up."""

DELAYS = (50, 200)
SLOW = 100
"""Milliseconds that the receiver of the memory's measure takes."""


def measured(bench: Bench, sizes: Sizes) -> Iterator[Figure]:
    """Every figure, as it is found."""
    bench.empty()
    bench.write(sizes.backlog)
    yield from backlog(bench, sizes)
    bench.empty()
    yield from latency(bench, sizes, 0, p50=10, p99=50)
    for delay in DELAYS:
        yield from latency(bench, sizes, delay, p50=2 * delay, p99=3 * delay)
    bench.empty()
    bench.write(sizes.memory_backlog)
    yield from memory(bench, sizes)


def backlog(bench: Bench, sizes: Sizes) -> Iterator[Figure]:
    """A backlog read by pg_recvlogical, by the listener from its slot, and by the listener from the tables, in turn."""
    with receiver() as receiving:
        rounds = [one_round(bench, receiving) for _ in range(sizes.rounds)]
    limits, streams, pasts, nothings = zip(*rounds, strict=True)
    idle_cpu, idle = median(nothing.cpu_seconds for nothing in nothings), median(nothing.seconds for nothing in nothings)
    rows = sizes.backlog
    limit = [rows / usage.cpu_seconds for usage in limits]
    stream = [rows / (usage.cpu_seconds - idle_cpu) for usage in streams]
    yield Figure("pg_recvlogical to /dev/null", "rows a client CPU second", limit)
    yield Figure("listener", "rows a client CPU second", stream)
    yield Figure("listener", "of pg_recvlogical", [s / limit for s, limit in zip(stream, limit, strict=True)], least=0.5)
    yield Figure("catch up from the slot", "toggles/s", [rows / (usage.seconds - idle) for usage in streams], least=100_000)
    yield Figure("catch up from the past", "toggles/s", [rows / (usage.seconds - idle) for usage in pasts], least=100_000)
    few = [nothing.cpu_seconds for nothing in nothings]
    yield Figure(f"listener with {FEW} rows to deliver", "CPU seconds, taken off above", few)


def one_round(bench: Bench, receiving: Receiving) -> tuple[Usage, Usage, Usage, Usage]:
    """What each reader used for the backlog, and what the listener uses for none."""
    with bench.slot() as slot:
        limit = bench.recvlogical(slot)
    with bench.slot() as slot:
        stream = bench.catch_up(slot, receiving)
    past = bench.from_start(receiving)
    with bench.slot(at_end=True) as slot:
        bench.write(FEW)
        nothing = bench.catch_up(slot, receiving)
    return limit, stream, past, nothing


def latency(bench: Bench, sizes: Sizes, delay: float, p50: float, p99: float) -> Iterator[Figure]:
    """From the writing of a toggle, at a steady rate, to its arrival at a receiver that answers after so many milliseconds."""
    rows = sizes.rate * sizes.seconds
    with receiver(delay, keep=True) as receiving, bench.listening(receiving):
        rate = bench.write(rows, sizes.rate)
        await_that(lambda: receiving.documents() >= rows)
    found = receiving.figures
    name = f"receiver takes {delay:g} ms, {sizes.rate:,} toggles/s"
    yield Figure(f"{name}: written to received, p50", "ms", [found["p50"]], most=p50)
    yield Figure(f"{name}: written to received, p99", "ms", [found["p99"]], most=p99)
    if delay:
        batch = found["documents_a_call"] / (rate * delay / 1000)
        yield Figure(f"{name}: mean batch", "of rate and delay multiplied", [batch], least=0.8, most=1.2)


def memory(bench: Bench, sizes: Sizes) -> Iterator[Figure]:
    """The listener's most memory, with a backlog and a receiver that is slow."""
    with receiver(SLOW) as receiving, bench.slot() as slot:
        usage = bench.catch_up(slot, receiving)
    name = f"backlog of {sizes.memory_backlog:,}, receiver takes {SLOW} ms: peak memory"
    yield Figure(name, "MB", [usage.peak_bytes / 1e6], most=200)
