"""`python -m benchmarks` measures, keeps the raw data as JSON, and has the page made of it; docs/benchmarks.md says the rest."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from benchmarks import lake, latency, listening, loading, machine, profiles
from benchmarks.bench import Bench, own_server
from benchmarks.measurement import Comparison, Place, compare
from benchmarks.process import ROOT
from benchmarks.results import DOCS, RESULTS, Report, write
from benchmarks.sizes import QUICK, Sizes
from benchmarks.table import goals, table
from demo.__main__ import interrupt
from demo.postgres import STATE, forget_other_servers

COMPARISONS = (
    *(loading.LANES, loading.BATCHES, loading.STREAMS, loading.MEMBERSHIPS, profiles.PROFILES),
    *(latency.LATENCY, listening.STEADY, listening.BACKLOG, listening.MEMORY, lake.EXPORTS, lake.BESIDE),
)


@click.command()
@click.option("--quick", is_flag=True, help="Tiny sizes, one round: shows that everything runs; the figures mean nothing.")
@click.option("--only", multiple=True, metavar="NAME", type=click.Choice([comparison.name for comparison in COMPARISONS]),
              help=f"Only this comparison, repeatable: {', '.join(comparison.name for comparison in COMPARISONS)}.")  # fmt: skip
@click.option("--into", type=click.Path(file_okay=False, path_type=Path),
              help="Where all of it goes.  [default: benchmarks/results, docs; a part or trial: .demo/benchmarks]")  # fmt: skip
def main(quick: bool, only: tuple[str, ...], into: Path | None) -> None:
    """Measure everything side by side: the loader, the listener, the views and the lake, beside limits, floors and goals."""
    forget_other_servers()
    signal.signal(signal.SIGTERM, interrupt)
    chosen = [comparison for comparison in COMPARISONS if not only or comparison.name in only]
    report = measured(chosen, QUICK if quick else Sizes())
    into = into or (STATE / "benchmarks" if quick or only else None)
    file = write(report, into or RESULTS)
    click.echo(f"{table(report)}\n\n{goals(report)}")
    # By a process of its own: a measured program's memory is never less than that of who started it, and plots need much.
    subprocess.run([sys.executable, "-m", "benchmarks.page", file, into or DOCS], cwd=ROOT, check=True)
    click.echo(f"\nThe raw data are in {file}, the page is in {into or DOCS}.")


def measured(chosen: Sequence[Comparison], sizes: Sizes) -> Report:
    """The report of what was chosen, on a server that is gone afterwards."""
    began = datetime.now(UTC)
    with own_server() as server, tempfile.TemporaryDirectory(prefix="pgsegments-bench-") as name:
        bench = Bench(server)
        folder = Path(name)
        folder.chmod(0o755)
        loading.warm_up(Place(bench, sizes, folder))
        found = []
        for comparison in chosen:
            (place := folder / comparison.name).mkdir()
            found.append(compare(comparison, Place(bench, sizes, place), told))
        return Report(
            began.isoformat(timespec="seconds"),
            machine.machine(server.data),
            machine.server(bench),
            msgspec.to_builtins(sizes),
            sizes.rounds,
            found,
        )


def told(line: str) -> None:
    """Say on stderr what was found just now."""
    click.echo(line, err=True)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
