"""The lake's commands. Only this module knows click; every error that a user can cause ends here as one sentence."""

from contextlib import closing
from threading import Event
from typing import Any

import click
import psycopg

from lake.database import keeping, one, reading, sentence
from lake.erase import Erase
from lake.errors import Damaged, LakeError, NotExported, Rejected
from lake.export import Export, Options
from lake.layout import FORMATS, printable
from lake.progress import Bar, progress
from lake.prune import Keep, Prune
from lake.rebuild import OPTIONS, Lake, check_empty
from lake.store import find_store
from lake.verify import verify
from loader.cli import describe, stopping_on_signals, unwritten
from loader.copy import Counts
from loader.database import check as check_loader
from loader.database import connect
from loader.database import sentence as loader_sentence
from loader.errors import LoaderError
from loader.options import duration
from loader.stream import Stream
from loader.subject import storable

DAY = 86_400.0
CENTURY = 36_525 * DAY
MOST_CHARACTERS = 256


class Group(click.Group):
    """Commands whose errors are sentences on stderr, with exit code 1."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (LakeError, LoaderError) as error:
            raise click.ClickException(str(error)) from None
        except psycopg.Error as error:
            raise click.ClickException(str(sentence(error))) from None
        except OSError as error:
            raise unwritten(error) from None


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="pgsegments")
def main() -> None:
    """Keep every event in open files too, and rebuild a database from them.

    The database is the one that psql would use: PGHOST, PGDATABASE, PGUSER, PGSERVICE, …
    """


retry_option = click.option(
    "--retry-for", type=duration, default="60s", show_default=True, help="How long to wait for a server that is gone."
)


@main.command()
@click.argument("destination")
@click.option("--every", type=duration, help="Go on until stopped, and look so often for what is new.  [default: once]")
@click.option("--format", "form", type=click.Choice(FORMATS), default=FORMATS[0], show_default=True, help="What the files are.")
@click.option("--linger", type=duration, default="10m", show_default=True,
              help="With --every: longest wait of a slow stream for files of some size.")  # fmt: skip
@click.option("--take-over", is_flag=True, help="Go on with the lake of the database that this one was restored from.")
@retry_option
def export(destination: str, every: float | None, **options: Any) -> None:
    """Export events to DESTINATION, a folder or an object store's URL: each once, by vendor and hour of receipt.

    Without --every: all that was committed when it started. Stopped or killed at any point and run again, the command goes on
    where it was.
    """
    with stopping_on_signals() as stopping, progress() as bar:
        exporting = Export(find_store(destination), Options(**options), stopping, bar)
        if every is not None:
            exporting.every(every)
        elif not exporting.once():
            bar.say("stopped as asked: run the same command again to go on")
        bar.say(str(exporting.counts))


@main.command("verify")
@click.argument("destination")
def verify_command(destination: str) -> None:
    """Compare the files of DESTINATION with what was written: a missing, truncated, altered or foreign one is named."""
    store = find_store(destination)
    with closing(reading(0, Event())) as session, progress() as bar:
        result = session.run(lambda connection: verify(connection, store, bar))
    for problem in result.problems:
        click.echo(printable(problem))
    click.echo(result.sentence())
    if result.problems:
        raise Damaged


@main.command()
@click.argument("destination")
@click.option("--keep", type=duration, required=True, help="How long events and outcomes stay, by UTC day: 30d.")
@click.option("--keep-rejects", type=duration, help="How long lines in quarantine stay.  [default: for ever]")
@retry_option
def prune(destination: str, keep: float, keep_rejects: float | None, retry_for: float) -> None:
    """Remove what is older than --keep from the database, day by day; memberships stay.

    A day's events go when every lake has them and the files of DESTINATION that hold them are whole, its outcomes when its events
    are gone and every listener has delivered its toggles. What is needed still stays, and who needs it is named. Stopped or
    killed at any point and run again, the command goes on where it was.
    """
    if not DAY <= keep <= CENTURY or (keep_rejects or 0) > CENTURY:
        raise click.BadParameter("from a day to a hundred years, such as 30d", param_hint="--keep")
    with stopping_on_signals() as stopping, progress() as bar, closing(keeping(retry_for, stopping)) as session:
        pruned = Prune(session, find_store(destination), Keep(keep, keep_rejects, retry_for), stopping, bar).run()
        for sentence_ in pruned.kept:
            bar.say(sentence_)
        bar.say(str(pruned))
        if stopping.is_set():
            bar.say("stopped as asked: run the same command again to go on")


@main.command()
@click.option("--user", required=True, help="Whom to erase.")
@retry_option
def erase(user: str, retry_for: float) -> None:
    """Erase a user from the database and from every lake, and take no event of theirs any more.

    They leave each segment first, which every listener delivers. Stopped or killed at any point and run again, the command goes
    on where it was. A report on stdout says what was removed where.
    """
    if not 1 <= len(user) <= MOST_CHARACTERS or not storable(user):
        raise click.BadParameter("1 to 256 characters, as users have", param_hint="--user")
    with stopping_on_signals() as stopping, progress() as bar, closing(keeping(retry_for, stopping)) as session:
        for report in Erase(session, user, retry_for, stopping, bar).run():
            click.echo(report)


@main.command()
@click.argument("destination")
def forget(destination: str) -> None:
    """Forget the lake at DESTINATION, so that prune waits for it no longer; its files stay where they are."""
    with closing(keeping(0, Event())) as session:
        name = find_store(destination).name
        if session.run(lambda connection: one(connection, "select lake_forget(%s)", name)) == (False,):
            raise NotExported


@main.command()
@click.argument("destination")
def rebuild(destination: str) -> None:
    """Load the lake at DESTINATION into an empty migrated database, so that it becomes what the original was.

    Any files of gzip NDJSON do, also with fields beside the contract's. Stopped or killed at any point and run again, the command
    goes on where it was.
    """
    with stopping_on_signals() as stopping, progress() as bar:
        try:
            load(Lake(find_store(destination), bar.advance), stopping, bar)
        except psycopg.Error as error:
            raise loader_sentence(error) from None  # whose role and tables these are


def load(lake: Lake, stopping: Event, bar: Bar) -> None:
    """Load a lake, and say how it went."""
    if lake.unread:
        first, *others = map(printable, lake.unread)
        bar.say(f"not read: {first}{f' and {len(others):,} more' if others else ''}")
    with closing(connect()) as connection:
        check_loader(connection)
        check_empty(connection, lake)

    def told(counts: Counts) -> None:
        bar.advance(0, describe(counts))

    bar.begin(lake.total_bytes)
    with Stream(OPTIONS, stopping, told) as streaming:
        bar.say(streaming.open(lake))
        complete = streaming.load(lake)
    bar.say(describe(streaming.counts))
    if not complete:
        bar.say("stopped as asked: run the same command again to go on")
    if streaming.counts.rejected:
        raise Rejected
