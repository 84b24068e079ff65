"""The loader's benchmarks: from a file to committed memberships, beside COPY alone and beside a trigger that goes row by row."""

import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks import row_trigger
from benchmarks.bench import DATABASE, Bench
from benchmarks.events import MANY, generate, load
from benchmarks.process import ROOT, Failed, Usage
from benchmarks.profiles import FILL, OF_USER
from benchmarks.results import Figure
from loader.event import Limits
from loader.ndjson import Lines, decode

LANES = 2
CHUNK = 1 << 20
DURABILITY = ("fsync", "full_page_writes", "synchronous_commit")
PARTITIONS = {60: 2.5, 400: 4.0}
"""Days with partitions, and how much more an event may cost there in batches of 100 than in batches of 10,000."""


@dataclass(frozen=True)
class Sizes:
    """How many events are loaded, how many of other kinds, in small batches, beside how many memberships; rounds of ratios."""

    load_events: int = 2_000_000
    load_others: int = 1_000_000
    load_small: int = 100_000
    load_memberships: int = 10_000_000
    load_rounds: int = 3


QUICK = Sizes(load_events=20_000, load_others=10_000, load_small=2_000, load_memberships=10_000, load_rounds=1)


def measured(bench: Bench, sizes: Sizes) -> Iterator[Figure]:
    """Every figure, as it is found."""
    with tempfile.TemporaryDirectory(prefix="pgsegments-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        usual = generate(folder / "usual", sizes.load_events, *MANY)
        bench.empty()
        load(bench, usual)  # a new server makes its log's files, one that has run for a while has them
        loaded = yield from goals(bench, usual, sizes)
        fewer = generate(folder / "fewer", sizes.load_others, *MANY)
        yield from large(bench, fewer, sizes, loaded)
        yield from others(bench, fewer, sizes)
        yield from small(bench, generate(folder / "small", sizes.load_small, *MANY), sizes)


def goals(bench: Bench, file: Path, sizes: Sizes) -> Generator[Figure, None, list[float]]:
    """The loader, COPY to a bare table and COPY to the row trigger, in turn; yield figures and return the loader's rates."""
    halves = prepared(file)
    loader: list[Usage] = []
    limits, triggers = [], []
    for _ in range(sizes.load_rounds):
        bench.empty()
        durable = {name: bench.fetch(f"show {name}")[0][0] for name in DURABILITY}
        loader.append(load(bench, file))
        row_trigger.install(bench)
        limits.append(sizes.load_events / copied(bench, halves, "bare"))
        triggers.append(sizes.load_events / copied(bench, halves, "row_by_row"))
    rates = [sizes.load_events / usage.seconds for usage in loader]
    of_copy = [rate / limit for rate, limit in zip(rates, limits, strict=True)]
    of_trigger = [rate / trigger for rate, trigger in zip(rates, triggers, strict=True)]
    settings = ", ".join(f"{name} {value}" for name, value in durable.items())
    yield Figure(f"loader, {LANES} lanes, {settings}", "events/s", rates, least=100_000)
    yield Figure(f"COPY to a bare table, {LANES} connections", "events/s", limits)
    yield Figure("loader", "of COPY", of_copy, least=0.085)
    yield Figure(f"row by row in a trigger, {LANES} connections", "events/s", triggers)
    yield Figure("loader", "of row by row", of_trigger, least=1.8)
    yield Figure("loader", "client CPU µs an event", [usage.cpu_seconds / sizes.load_events * 1e6 for usage in loader])
    yield Figure("loader: peak memory", "MB", [max(usage.peak_bytes for usage in loader) / 1e6], most=150)
    return rates


def large(bench: Bench, file: Path, sizes: Sizes, loaded: list[float]) -> Iterator[Figure]:
    """The loader when there are many memberships already."""
    bench.empty()
    with bench.server.connect(DATABASE, autocommit=True) as connection:
        connection.execute(FILL.encode(), [sizes.load_memberships // OF_USER, OF_USER])
        connection.execute("vacuum analyze segment_memberships")
    rate = sizes.load_others / load(bench, file).seconds
    name = f"loader beside {sizes.load_memberships:,} memberships"
    yield Figure(name, "of the first figure", [rate / before for before in loaded], least=0.7)


def others(bench: Bench, file: Path, sizes: Sizes) -> Iterator[Figure]:
    """Streams of other kinds, each beside the usual one."""
    toggles = generate(file.with_name("toggles"), sizes.load_others)
    doubled = generate(file.with_name("doubled"), sizes.load_others, *MANY, "--duplicates", "0.01")
    rates: dict[Path, list[float]] = {file: [], toggles: [], doubled: []}
    for _ in range(sizes.load_rounds):
        for kind, found in rates.items():
            bench.empty()
            found.append(sizes.load_others / load(bench, kind).seconds)
    yield Figure("500 segments, 10,000 users: loader", "events/s", rates[toggles])
    ratios = [one / other for one, other in zip(rates[doubled], rates[file], strict=True)]
    yield Figure("1 % duplicates in every batch: loader", "of the clean stream", ratios, least=0.6)


def small(bench: Bench, file: Path, sizes: Sizes) -> Iterator[Figure]:
    """Small batches beside larger ones, with many partitions."""
    for days, most in PARTITIONS.items():
        ratios = []
        for _ in range(sizes.load_rounds):
            seconds = []
            for size in (100, 10_000):
                bench.empty()
                bench.fetch(f"select segment_ensure_partitions(current_date - {days - 2}, current_date + 1)")
                seconds.append(load(bench, file, "--batch-size", str(size)).seconds)
            ratios.append(seconds[0] / seconds[1])
        yield Figure(f"batches of 100, {days} days of partitions: cost an event", "of batches of 10,000", ratios, most=most)


def prepared(file: Path) -> list[Path]:
    """The file's events in COPY's text format, a file a lane, with all of a user's events in one of them."""
    limits = Limits(datetime.now(UTC) + timedelta(days=365), None)
    paths = [file.with_name(f"{file.name}-{lane}") for lane in range(LANES)]
    lines = Lines(CHUNK)
    with ExitStack() as stack:
        source = stack.enter_context(file.open("rb"))
        targets = [stack.enter_context(path.open("w")) for path in paths]
        while chunk := source.read(CHUNK):
            for block in lines.feed(chunk):
                for row in decode(block, limits)[0]:  # type: ignore[arg-type]
                    targets[row.bucket % LANES].write(row.copy)
    return paths


def copied(bench: Bench, files: list[Path], table: str) -> float:
    """Copy the files to a table of `row_trigger`, all at the same time; return the seconds that it took."""
    bench.settle()
    began = time.monotonic()
    commands: list[list[str | Path]] = [
        [bench.server.bin / "psql", "-qXv", "ON_ERROR_STOP=1", "-c", f"\\copy {table} ({row_trigger.COLUMNS}) from '{file}'"]
        for file in files
    ]
    running = [subprocess.Popen(command, cwd=ROOT, env=bench.environment("postgres")) for command in commands]
    if any(process.wait() for process in running):
        raise Failed
    return time.monotonic() - began
