"""`python -m benchmarks` measures everything, prints a table and writes JSON; what a run needs it makes, and removes."""

import json
import os
import platform
import signal
from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import click
import psycopg

from benchmarks import lake, listening, loading, profiles
from benchmarks.bench import Bench, own_server
from benchmarks.listening import Sizes
from benchmarks.results import Figure, table
from benchmarks.source import DESCRIPTION
from demo.__main__ import interrupt
from demo.postgres import DEFAULT_MAJOR, STATE, forget_other_servers


@click.command()
@click.option("--quick", is_flag=True, help="Small sizes: shows that everything runs; the figures mean nothing.")
@click.option("--backlog", type=click.IntRange(1000), help=f"Rows to catch up with.  [default: {Sizes.backlog:,}]")
@click.option("--rounds", type=click.IntRange(1), help=f"How often each is measured, in turn.  [default: {Sizes.rounds}]")
@click.option("--memory-backlog", type=click.IntRange(1000), help=f"The same for memory.  [default: {Sizes.memory_backlog:,}]")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), default=STATE / "benchmarks.json",
              help="Where the results go.  [default: .demo/benchmarks.json]")  # fmt: skip
def main(quick: bool, file: Path, **chosen: int | None) -> None:
    """Measure the loader, the listener and the lake beside PostgreSQL's own clients, and profiles, against their goals."""
    forget_other_servers()
    signal.signal(signal.SIGTERM, interrupt)
    sizes = replace(listening.QUICK if quick else Sizes(), **{name: value for name, value in chosen.items() if value is not None})
    of_views = profiles.QUICK if quick else profiles.Sizes()
    of_lake = lake.QUICK if quick else lake.Sizes()
    of_loader = loading.QUICK if quick else loading.Sizes()
    with own_server() as server:
        bench = Bench(server)
        figures = list(
            told(
                chain(
                    loading.measured(bench, of_loader),
                    listening.measured(bench, sizes),
                    profiles.measured(bench, of_views),
                    lake.measured(bench, of_lake),
                )
            )
        )
    click.echo(f"\nToggles: {DESCRIPTION}.\n{table(figures)}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        json.dumps(report(asdict(of_loader) | asdict(sizes) | asdict(of_views) | asdict(of_lake), figures), indent=2) + "\n"
    )


def told(figures: Iterable[Figure]) -> Iterable[Figure]:
    """The figures, each named on stderr as soon as it is there."""
    for figure in figures:
        click.echo(f"{figure.name}: {figure.median:,.6g} {figure.unit}", err=True)
        yield figure


def report(sizes: dict[str, int], figures: Iterable[Figure]) -> dict[str, Any]:
    """The results with what is needed to compare them with others."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "psycopg": psycopg.__version__,
        "postgresql": DEFAULT_MAJOR,
        "toggles": DESCRIPTION,
        "sizes": sizes,
        "figures": [figure.as_json() for figure in figures],
    }


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
