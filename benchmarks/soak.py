"""`python -m benchmarks.soak` runs everything under a steady load with retention on, and looks whether anything grows.

The load is a stream of events through a loader of two lanes, a listener that posts every toggle to a receiver, `lake export
--every`, a file that is loaded to its end and `lake prune` each day, and `dbt run` every third. Days are simulated:
`benchmarks.ageing` says how, `benchmarks.flatness` what has to stay flat. All of it runs on a server of its own that is removed.

Exit code 0: all is flat. 1: something is not, and a sentence each says what; or retention removed nothing, or a program
failed or ended early.
"""

import signal
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import click
import msgspec
import psycopg

from benchmarks.bench import DATABASE, own_server
from benchmarks.chores import KINDS, Place
from benchmarks.curves import draw
from benchmarks.flatness import Level, levels
from benchmarks.process import Failed
from benchmarks.soaking import Load, Record, soak
from benchmarks.table import aligned
from demo.__main__ import interrupt
from demo.database import build_views, dbt, fresh_database
from demo.errors import DemoError
from demo.postgres import STATE, Server, forget_other_servers
from loader.options import FiniteRange

DAY_SECONDS = 20
FEWEST_DAYS, MOST_DAYS = 12, 390
"""The days that a run simulates; those more than 400 ago share one partition."""

DBT_EVERY = 3
SHORTEST = 5.0
"""Minutes from which on a verdict means something: a third then has several checkpoints, vacuums and days."""

SETTINGS = {"checkpoint_timeout": "30s", "max_wal_size": "256MB"}
"""So that there are many checkpoints, as in a week; with a cache so small that it is full soon, too."""

SHARED_BUFFERS = 64


@click.command()
@click.option("--minutes", type=FiniteRange(0, min_open=True), default=10, show_default=True,
              help="How long; less than five only show that it runs.")  # fmt: skip
@click.option("--rate", type=FiniteRange(1), default=2000, show_default=True, help="Events a second.")
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), default=STATE / "benchmarks",
              help="Where data and picture go.  [default: .demo/benchmarks]")  # fmt: skip
def main(minutes: float, rate: float, into: Path) -> None:
    """Run everything under a steady load with retention on: memory, sizes, log and lag must stay flat."""
    forget_other_servers()
    signal.signal(signal.SIGTERM, interrupt)
    try:
        record = run(60 * minutes, rate)
    except (Failed, DemoError) as error:
        raise click.ClickException(str(error)) from None
    except psycopg.Error as error:
        raise click.ClickException(f"The server did not do what it was asked, so the soak is over: {error}") from None
    into.mkdir(parents=True, exist_ok=True)
    data, picture = into / "soak.json", into / "soak.svg"
    data.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
    draw(record, picture)
    found = levels(record.series)
    click.echo(f"{table(found)}\n\n{summary(record)}\nThe data are in {data}, the picture is {picture}.")
    complain(found, record, trial=minutes < SHORTEST)


def run(seconds: float, rate: float) -> Record:
    """A soak on a server that is gone afterwards."""
    days = max(FEWEST_DAYS, min(MOST_DAYS, int(seconds / DAY_SECONDS)))
    with own_server(SHARED_BUFFERS) as server, tempfile.TemporaryDirectory(prefix="pgsegments-soak-") as folder:
        configure(server)
        fresh_database(server, DATABASE)
        build_views(server, DATABASE)
        models = (partial(dbt, server, DATABASE, "run"), DBT_EVERY)
        return soak(Place(server, DATABASE, Path(folder)), Load(seconds, days, rate), [models], partial(click.echo, err=True))


def configure(server: Server) -> None:
    """Set the server."""
    with server.connect("postgres", autocommit=True) as connection:
        for name, value in SETTINGS.items():
            connection.execute(f"alter system set {name} = '{value}'".encode())
        connection.execute("select pg_reload_conf()")


def table(found: list[Level]) -> str:
    """A row a measure, in Markdown: the medians of the second third and of the last, by how much it may rise, and the verdict."""
    head = [("", "after the warm-up", "in the last third", "", "may rise by", ""), ("---", "--:", "--:", "---", "--:", "---")]
    return aligned([*head, *(row(level) for level in found)])


def row(level: Level) -> tuple[str, ...]:
    """A measure's row."""
    numbers = (f"{number:,.2f}" for number in (level.before, level.after, level.allowed))
    before, after, allowed = numbers
    return level.measure.name, before, after, level.measure.unit, allowed, "flat" if level.flat else "**not flat**"


def summary(record: Record) -> str:
    """What happened, in a sentence."""
    removed = ", ".join(f"{number:,} {kind}" for kind, number in record.removed().items())
    return (
        f"{record.seconds / 60:,.1f} minutes were {record.days} days of {record.rate:,.0f} events/s; "
        f"{record.delivered:,} toggles were delivered; {len(record.prunings)} times pruned: {removed}."
    )


def complain(found: list[Level], record: Record, *, trial: bool) -> None:
    """Say what is wrong, a sentence each, and end with 1 if that is much."""
    wrong = list(unpruned(record))
    grown = [level.sentence() for level in found if not level.flat]
    for sentence in [*wrong, *grown]:
        click.echo(sentence)
    if trial:
        click.echo(f"A trial: with less than {SHORTEST:.0f} minutes it shows that all runs, and what is flat means nothing.")
    if wrong or (grown and not trial):
        raise SystemExit(1)


def unpruned(record: Record) -> Iterator[str]:
    """What retention should have removed and has not."""
    removed = record.removed()
    missing = [kind for kind in KINDS if not removed.get(kind)]
    if missing:
        yield f"Retention removed none of these: {', '.join(missing)}. So this run says nothing of whether they stay flat."
    if not record.delivered:
        yield "No toggle was delivered, so this run says nothing of the listener."


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.soak")
