"""The listener's commands. Only it and `options` know click; an error that a user can cause ends here as one sentence."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar

import click
import psycopg

from listener import letters
from listener import slot as slots
from listener.database import Connection, Database, check_migrated, check_server, sentence
from listener.delivery import Posting
from listener.errors import ListenerError, Refused
from listener.letters import Chosen, Letter
from listener.log import log_to_stderr
from listener.options import (
    log_option,
    moment,
    parsed_only,
    parsed_segments,
    posting,
    publication_option,
    slot_name,
    slot_option,
    user_id,
)
from listener.past import OUTCOMES, Selection
from listener.replay import Tally, documents, now, replay
from listener.run import Options, listen
from listener.status import described, statuses

Result = TypeVar("Result")


class Group(click.Group):
    """Commands whose errors are sentences on stderr, with exit code 1."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except ListenerError as error:
            raise click.ClickException(str(error)) from None
        except psycopg.Error as error:
            raise click.ClickException(str(sentence(error))) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read our output has had enough
            raise SystemExit(0) from None


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="pgsegments")
def main() -> None:
    """Post toggles to a webhook as they are committed.

    The database is the one that psql would use: PGHOST, PGDATABASE, PGUSER, PGSERVICE, …
    """


@main.command()
@posting
@slot_option
@publication_option
@click.option("--only", multiple=True, callback=parsed_only, metavar="vendor=N|segment=N/NAME",
              help="Post no others, by vendor or segment; repeatable.")  # fmt: skip
@click.option("--from", "start", type=click.Choice(["now", "start"]), default="now", show_default=True,
              help="Where a new slot begins: with all toggles so far, or with the next one.")  # fmt: skip
@click.option("--max-buffer", type=click.IntRange(1), default=50_000, show_default=True,
              help="Most documents that wait; then reading pauses.")  # fmt: skip
@click.option("--on-poison", type=click.Choice(["set-aside", "stop"]), default="set-aside", show_default=True,
              help="When the receiver refuses a document for good: make it a dead letter, or stop.")  # fmt: skip
@click.option("--wait", is_flag=True, help="While another listener has the slot stand by, and take over when it is gone.")
@click.option("--until-caught-up", is_flag=True, help="Exit when everything is delivered that was committed at the start.")
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Serve metrics for Prometheus on this port.")
@click.option("--metrics-address", default="127.0.0.1", show_default=True, help="Address on which they are served.")
@log_option
def run(start: str, on_poison: str, log_json: bool, **options: Any) -> None:
    """Post every toggle to a webhook, in order, from the replication slot on.

    While one call is being answered the next toggles gather, so a slow receiver gets fewer and larger calls. What is not accepted
    is posted again for as long as it takes; killed at any point and run again, the command goes on where it was. A slot that was
    lost is made anew, and what was not delivered by then comes from the tables.
    """
    log_to_stderr(log_json)
    chosen = Options(whole_past=start == "start", stop_on_poison=on_poison == "stop", **options)
    asyncio.run(until_stopped(lambda stopping: listen(chosen, stopping)))


@main.command("replay")
@posting
@publication_option
@click.option("--since", type=moment, help="Recorded at this time or later: 2026-01-31T12:00:00Z.")
@click.option("--until", type=moment, help="Recorded before this time.")
@click.option("--user", type=user_id, help="Of this user.")
@click.option(
    "--segment", "only", multiple=True, callback=parsed_segments, metavar="N/NAME", help="Of this vendor's segment; repeatable."
)
@click.option("--dry-run", is_flag=True, help="Post nothing: write the documents to stdout, one a line.")
@log_option
def replay_toggles(dry_run: bool, publication: str, log_json: bool, **options: Any) -> None:
    """Post toggles again that are in the database, in the order in which they were recorded.

    It runs beside the listener and moves no cursor. Each call has the header webhook-replay. A replayed toggle is older than what
    the stream has brought since: in which order it applies the two is the receiver's affair, for example by timestamp.
    """
    log_to_stderr(log_json)
    narrowed = {name: options.pop(name) for name in ("since", "until", "user", "only")}
    with_outcome = publication != "segment_toggles"

    async def work(database: Database, stopping: asyncio.Event) -> Tally:
        await database.run(check_server)
        selection = Selection(OUTCOMES[publication], await now(database), **narrowed)
        if not dry_run:
            return await replay(database, Posting(**options), selection, with_outcome, stopping)
        found = Tally()
        async for document in documents(database, selection, with_outcome):
            click.echo(document)
            found.accepted += 1
            if stopping.is_set():
                found.stopped = True
                break
        return found

    told(posted(work), "toggles", "would be posted" if dry_run else "posted")


@main.group("dead-letters")
def dead_letters() -> None:
    """Documents that a receiver refused for good: look at them, post them again, discard them."""


number_type = click.IntRange(1, 2**63 - 1)
numbers_argument = click.argument("numbers", nargs=-1, type=number_type)
of_slot_option = click.option("--slot", type=slot_name, help="Only those of this slot.")


@dead_letters.command("list")
@of_slot_option
@click.option("--limit", type=number_type, default=50, show_default=True, help="How many of the latest.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON, one object a dead letter and line.")
def list_letters(slot: str | None, limit: int, as_json: bool) -> None:
    """List the latest dead letters: number, slot, when it was set aside, and why."""
    for letter in asyncio.run(with_database(lambda c: letters.latest(c, Chosen(slot=slot), limit))):
        click.echo(as_line(letter) if as_json else f"{letter.number}  {letter.slot}  {at(letter.set_aside_at)}  {letter.answer}")


@dead_letters.command("show")
@click.argument("number", type=number_type)
def show_letter(number: int) -> None:
    """Show one dead letter with its document as it was posted, on stdout; what is known of it goes to stderr."""

    async def one(connection: Connection) -> Letter:
        await letters.check_chosen(connection, Chosen([number]))
        return (await letters.latest(connection, Chosen([number]), 1))[0]

    letter = asyncio.run(with_database(one))
    click.echo(f"{letter.slot}, set aside {at(letter.set_aside_at)}, call {letter.webhook_id}", err=True)
    click.echo(letter.answer, err=True)
    click.echo(letter.document)


@dead_letters.command("replay")
@numbers_argument
@posting
@of_slot_option
@log_option
def replay_letters(numbers: tuple[int, ...], slot: str | None, log_json: bool, **options: Any) -> None:
    """Post the dead letters of these NUMBERS again, or all: what is accepted is one no longer, the others stay.

    Each call has the header webhook-replay. They are older than what the stream has brought since: in which order it applies
    the two is the receiver's affair.
    """
    log_to_stderr(log_json)
    found = posted(lambda database, stopping: letters.replay(database, Posting(**options), Chosen(numbers, slot), stopping))
    told(found, "dead letters", "posted")


@dead_letters.command("discard")
@numbers_argument
@of_slot_option
@click.option("--all", "every", is_flag=True, help="Discard all of them.")
def discard_letters(numbers: tuple[int, ...], slot: str | None, every: bool) -> None:
    """Remove the dead letters of these NUMBERS: they will not be posted any more."""
    if every == bool(numbers):
        raise click.UsageError("Name the NUMBERS to discard, or --all.")
    count = asyncio.run(with_database(lambda c: letters.discard(c, Chosen(numbers, slot))))
    click.echo(f"{count:,} dead letters discarded.")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Write JSON, one object a slot and line.")
def status(as_json: bool) -> None:
    """Show each slot: who streams it, how far behind it is, the last call, dead letters."""
    for found in asyncio.run(with_database(statuses)):
        click.echo(json.dumps(found._asdict(), default=str) if as_json else described(found))


@main.command()
@slot_option
def drop(slot: str) -> None:
    """Remove a slot and its cursor, so that the server keeps no log for it; dead letters stay."""
    asyncio.run(with_database(lambda c: slots.drop(c, slot)))
    click.echo(f"{slot} is gone; a listener that starts with it makes it anew.")


def at(time: datetime) -> str:
    """A time in UTC, to the second."""
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def as_line(letter: Letter) -> str:
    """A dead letter as JSON."""
    fields = letter._asdict() | {"document": json.loads(letter.document), "set_aside_at": at(letter.set_aside_at)}
    return json.dumps(fields, ensure_ascii=False)


def told(found: Tally, what: str, done: str) -> None:
    """Say how many documents were done with."""
    click.echo(f"{found.accepted:,} {what} {done}{', then stopped as asked' * found.stopped}.", err=True)
    if found.refused:
        raise Refused(f"{Refused()} ({found.refused:,})")


async def until_stopped(work: Callable[[asyncio.Event], Awaitable[Result]]) -> Result:
    """Work until SIGINT or SIGTERM; a second signal ends the process as usual."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def stop(number: signal.Signals) -> None:
        stopping.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    return await work(stopping)


async def with_database(work: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Do work on a connection that is closed afterwards."""
    return await with_session(lambda database: database.run(work))


async def with_session(work: Callable[[Database], Awaitable[Result]]) -> Result:
    """Do work in a session with a database that is migrated; it is closed afterwards."""
    database = Database()
    await database.open()
    try:
        await database.run(check_migrated)
        return await work(database)
    finally:
        await database.close()


def posted(work: Callable[[Database, asyncio.Event], Awaitable[Tally]]) -> Tally:
    """Post until all is done or told to stop."""
    return asyncio.run(until_stopped(lambda stopping: with_session(lambda database: work(database, stopping))))
