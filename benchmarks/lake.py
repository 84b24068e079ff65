"""The lake's benchmarks: exports beside PostgreSQL's own, a rebuild, and what an export costs the loader."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.events import MANY, generate, load
from benchmarks.process import ROOT, Usage, measure
from benchmarks.results import Figure
from lake.layout import FORMATS

LAKE = (sys.executable, "-m", "lake")
LEAST = {"jsonl.gz": 200_000, "parquet": 300_000}


@dataclass(frozen=True)
class Sizes:
    """How many events are exported, how many are loaded beside an export, and in how many rounds."""

    lake_events: int = 2_000_000
    lake_beside: int = 600_000
    lake_rounds: int = 3


QUICK = Sizes(lake_events=20_000, lake_beside=20_000, lake_rounds=1)


def measured(bench: Bench, sizes: Sizes) -> Iterator[Figure]:
    """Every figure, as it is found."""
    with tempfile.TemporaryDirectory(prefix="pgsegments-bench-") as name:
        folder = Path(name)
        events = generate(folder / "events.ndjson", sizes.lake_events, *MANY)
        bench.empty()
        load(bench, events)
        yield from exports(bench, folder, sizes)
        bench.empty()
        usage = measure([*LAKE, "rebuild", str(folder / FORMATS[0])], bench.environment("segment_loader"))
        yield Figure("lake rebuild", "events/s", [sizes.lake_events / usage.seconds])
        yield Figure("lake rebuild: peak memory", "MB", [usage.peak_bytes / 1e6], most=300)
        yield from beside(bench, generate(folder / "fewer.ndjson", sizes.lake_beside, *MANY), sizes)


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
        limits.append(sizes.lake_events / measure(copy, bench.environment("postgres")).seconds)
        for form in FORMATS:
            destination = folder / (form if number == 0 else f"{form}-{number}")
            command = [*LAKE, "export", str(destination), "--format", form]
            usages[form].append(measure(command, bench.environment("segment_lake")))
    yield Figure("COPY segment_events to /dev/null", "events/s", limits)
    for form, found in usages.items():
        rates = [sizes.lake_events / usage.seconds for usage in found]
        yield Figure(f"lake export to {form}", "events/s", rates, least=LEAST[form])
        yield Figure(
            f"lake export to {form}", "events a client CPU second", [sizes.lake_events / usage.cpu_seconds for usage in found]
        )
        yield Figure(f"lake export to {form}", "of COPY", [rate / limit for rate, limit in zip(rates, limits, strict=True)])
        yield Figure(f"lake export to {form}: peak memory", "MB", [max(usage.peak_bytes for usage in found) / 1e6], most=300)


def beside(bench: Bench, events: Path, sizes: Sizes) -> Iterator[Figure]:
    """The loader at half its top rate, alone and beside an export, in turn."""
    bench.empty()
    rate = sizes.lake_beside / load(bench, events).seconds / 2
    ratios = []
    for number in range(sizes.lake_rounds):
        bench.empty()
        alone = load(bench, events, "--rate", f"{rate:.0f}").seconds
        bench.empty()
        with exporting(bench, events.with_name(f"beside-{number}")):
            ratios.append(alone / load(bench, events, "--rate", f"{rate:.0f}").seconds)
    yield Figure(f"loader at {rate:,.0f} events/s beside an export", "of alone", ratios, least=0.9)


@contextmanager
def exporting(bench: Bench, destination: Path) -> Iterator[None]:
    """An export every second, for as long as the block runs."""
    command = [*LAKE, "export", str(destination), "--every", "1s"]
    where = os.environ | bench.environment("segment_lake")
    with subprocess.Popen(command, cwd=ROOT, env=where, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
