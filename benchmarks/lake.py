"""The lake's benchmarks: exports beside PostgreSQL's own, a rebuild, and what an export costs the loader."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import DATABASE, Bench
from benchmarks.process import ROOT, Usage, measure
from benchmarks.results import Figure
from lake.layout import FORMATS

LAKE = (sys.executable, "-m", "lake")
LOADER = (sys.executable, "-m", "loader")
GENERATE = ("--seed", "1", "--segments", "10000", "--users", "1000000")
LEAST = {"jsonl.gz": 200_000, "parquet": 300_000}


@dataclass(frozen=True)
class Sizes:
    """How many events are exported, and in how many rounds."""

    lake_events: int = 2_000_000
    lake_rounds: int = 3


QUICK = Sizes(lake_events=20_000, lake_rounds=1)


def measured(bench: Bench, sizes: Sizes) -> Iterator[Figure]:
    """Every figure, as it is found."""
    with tempfile.TemporaryDirectory(prefix="pgsegments-bench-") as name:
        folder = Path(name)
        with (folder / "events.ndjson").open("wb") as events:
            subprocess.run(
                [*LOADER, "generate", "--count", str(sizes.lake_events), *GENERATE], cwd=ROOT, stdout=events, check=True
            )
        bench.empty()
        top = sizes.lake_events / load(bench, folder).seconds
        yield from exports(bench, folder, sizes)
        bench.empty()
        usage = measure([*LAKE, "rebuild", str(folder / FORMATS[0])], environment(bench, "segment_loader"))
        yield Figure("lake rebuild", "events/s", [sizes.lake_events / usage.seconds])
        yield Figure("lake rebuild: peak memory", "MB", [usage.peak_bytes / 1e6], most=300)
        yield from beside(bench, folder, sizes, top / 2)


def exports(bench: Bench, folder: Path, sizes: Sizes) -> Iterator[Figure]:
    """The same events in each format, and by COPY to nowhere, in turn."""
    copy: list[str | Path] = [
        bench.server.bin / "psql",
        "-qX",
        "-o",
        os.devnull,
        "-c",
        "copy (select * from segment_events) to stdout",
    ]
    limits: list[float] = []
    usages: dict[str, list[Usage]] = {form: [] for form in FORMATS}
    for number in range(sizes.lake_rounds):
        limits.append(sizes.lake_events / measure(copy, environment(bench)).seconds)
        for form in FORMATS:
            destination = folder / (form if number == 0 else f"{form}-{number}")
            command = [*LAKE, "export", str(destination), "--format", form]
            usages[form].append(measure(command, environment(bench, "segment_lake")))
    yield Figure("COPY segment_events to /dev/null", "events/s", limits)
    for form, found in usages.items():
        rates = [sizes.lake_events / usage.seconds for usage in found]
        yield Figure(f"lake export to {form}", "events/s", rates, least=LEAST[form])
        yield Figure(
            f"lake export to {form}", "events a client CPU second", [sizes.lake_events / usage.cpu_seconds for usage in found]
        )
        yield Figure(f"lake export to {form}", "of COPY", [rate / limit for rate, limit in zip(rates, limits, strict=True)])
        yield Figure(f"lake export to {form}: peak memory", "MB", [max(usage.peak_bytes for usage in found) / 1e6], most=300)


def beside(bench: Bench, folder: Path, sizes: Sizes, rate: float) -> Iterator[Figure]:
    """The loader at half its top rate, alone and beside an export, in turn."""
    ratios = []
    for number in range(sizes.lake_rounds):
        bench.empty()
        alone = load(bench, folder, rate).seconds
        bench.empty()
        with exporting(bench, folder / f"beside-{number}"):
            ratios.append(alone / load(bench, folder, rate).seconds)
    yield Figure(f"loader at {rate:,.0f} events/s beside an export", "of alone", ratios, least=0.9)


def load(bench: Bench, folder: Path, rate: float | None = None) -> Usage:
    """Load the file, at full speed or at a rate."""
    limit = [] if rate is None else ["--rate", f"{rate:.0f}"]
    return measure([*LOADER, "stream", *limit, str(folder / "events.ndjson")], environment(bench, "segment_loader"))


@contextmanager
def exporting(bench: Bench, destination: Path) -> Iterator[None]:
    """An export every second, for as long as the block runs."""
    command = [*LAKE, "export", str(destination), "--every", "1s"]
    where = os.environ | environment(bench, "segment_lake")
    with subprocess.Popen(command, cwd=ROOT, env=where, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def environment(bench: Bench, role: str = "postgres") -> dict[str, str]:
    """What libpq needs to connect to the bench's database in a role."""
    return bench.server.environment(DATABASE) | {"PGUSER": role}
