"""The lake's benchmarks: exports beside PostgreSQL's own, a rebuild, and what an export costs the loader."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.events import MANY, generate, load
from benchmarks.measurement import Comparison, Measurement, Place, Readings
from benchmarks.process import ROOT, Usage, measure
from benchmarks.results import Goal
from lake.layout import FORMATS

LAKE = (sys.executable, "-m", "lake")
LEAST = {"jsonl.gz": 200_000, "parquet": 300_000}
RATE = "events/s"
MEMORY = "MB of client memory"
COPY = "COPY segment_events to /dev/null"
LOADED = "loaded"
"""A database with events to export."""

ALONE = "the loader at half its top rate, alone"


def exports(place: Place) -> Sequence[Measurement]:
    """The same events by COPY to nowhere, in each format, and from a lake back into a database."""
    bench, events = place.bench, place.sizes.events
    bench.empty()
    load(bench, generate(place.folder / "events", events, *MANY))
    bench.keep(LOADED)
    lake = place.folder / "lake"
    measure([*LAKE, "export", lake], bench.environment("segment_lake"))
    return [
        Measurement(COPY, partial(copied, bench, events)),
        *(
            Measurement(
                f"lake export to {form}",
                partial(exported, bench, events, form, place.folder),
                [Goal(RATE, least=LEAST[form]), Goal(MEMORY, most=300)],
            )
            for form in FORMATS
        ),
        Measurement("lake rebuild", partial(rebuilt, bench, events, lake), [Goal(MEMORY, most=300)]),
    ]


def copied(bench: Bench, events: int) -> Readings:
    """By COPY, unsorted, to nowhere."""
    bench.empty(LOADED)
    question = "copy (select * from segment_events) to stdout"
    return used(
        events, measure([bench.server.bin / "psql", "-qX", "-o", os.devnull, "-c", question], bench.environment("postgres"))
    )


def exported(bench: Bench, events: int, form: str, folder: Path) -> Readings:
    """By an export."""
    bench.empty(LOADED)
    with tempfile.TemporaryDirectory(dir=folder) as destination:
        return used(events, measure([*LAKE, "export", destination, "--format", form], bench.environment("segment_lake")))


def rebuilt(bench: Bench, events: int, lake: Path) -> Readings:
    """From the lake into an empty database."""
    bench.empty()
    return used(events, measure([*LAKE, "rebuild", lake], bench.environment("segment_loader")))


def used(events: int, usage: Usage) -> Readings:
    """What so many events took."""
    return {
        RATE: events / usage.seconds,
        "µs of client CPU an event": usage.cpu_seconds / events * 1e6,
        MEMORY: usage.peak_bytes / 1e6,
    }


def beside(place: Place) -> Sequence[Measurement]:
    """The loader at half its top rate, alone and beside an export."""
    bench, events = place.bench, place.sizes.fewer_events
    file = generate(place.folder / "events", events, *MANY)
    bench.empty()
    rate = events / load(bench, file).seconds / 2
    return [
        Measurement(ALONE, partial(paced, bench, file, events, rate)),
        Measurement(
            "the same, beside an export",
            partial(paced_beside, bench, file, events, rate),
            [Goal(RATE, least=0.9, of=ALONE)],
        ),
    ]


def paced(bench: Bench, file: Path, events: int, rate: float) -> Readings:
    """Load at a rate."""
    bench.empty()
    return {RATE: events / load(bench, file, "--rate", f"{rate:.0f}").seconds}


def paced_beside(bench: Bench, file: Path, events: int, rate: float) -> Readings:
    """The same, while what was loaded is exported every second."""
    bench.empty()
    with exporting(bench, file.parent):
        return {RATE: events / load(bench, file, "--rate", f"{rate:.0f}").seconds}


@contextmanager
def exporting(bench: Bench, folder: Path) -> Iterator[None]:
    """An export every second, for as long as the block runs."""
    where = os.environ | bench.environment("segment_lake")
    with tempfile.TemporaryDirectory(dir=folder) as destination:
        command = [*LAKE, "export", destination, "--every", "1s"]
        with subprocess.Popen(command, cwd=ROOT, env=where, stderr=subprocess.DEVNULL) as process:
            try:
                yield
            finally:
                process.terminate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


EXPORTS = Comparison("lake", "How fast do events go to a lake, and back?", exports, COPY)
BESIDE = Comparison("beside", "What does an export cost the loader?", beside, ALONE)
