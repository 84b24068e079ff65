"""Synthetic events for the benchmarks, as files, and the loader's way with them."""

import subprocess
import sys
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.process import ROOT, Usage, measure

LOADER = (sys.executable, "-m", "loader")
MANY = ("--segments", "10000", "--users", "1000000")
"""The usual workload: most keys are seen once or twice."""


def generate(file: Path, events: int, *options: str) -> Path:
    """Write so many events to a file, the same ones every time but for their day; return the file."""
    command = [*LOADER, "generate", "--count", str(events), "--seed", "1", *options]
    with file.open("wb") as opened:
        subprocess.run(command, cwd=ROOT, stdout=opened, check=True)
    return file


def load(bench: Bench, file: Path, *options: str) -> Usage:
    """Load a file, as the loader's role."""
    bench.settle()
    return measure([*LOADER, "stream", *options, str(file)], bench.environment("segment_loader"))
