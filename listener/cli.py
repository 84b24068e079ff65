"""The listener's commands. Only this module knows click; every error that a user can cause ends here as one sentence."""

import asyncio
import json
import os
import re
import signal
import sys
from typing import Any, TypeVar

import click
import psycopg

from listener import slot as slots
from listener.database import Connection, Database, check_migrated, sentence
from listener.errors import ListenerError
from listener.log import log_to_stderr
from listener.past import OUTCOMES
from listener.run import Options, listen
from listener.status import described, statuses
from listener.webhook import parse_secret, parse_url

Result = TypeVar("Result")

SHORTEST_TIMEOUT, LONGEST_TIMEOUT = 0.01, 3600

MOST_SECRETS = 2
"""The one in use and, while it is being replaced, the next."""


UNITS = {"": 1, "kib": 1 << 10, "mib": 1 << 20}


def size(text: str) -> int:
    """Bytes of a size such as 65536, 64KiB or 4MiB."""
    found = re.fullmatch(r"([1-9]\d{0,12})([a-z]*)", text.lower())
    if not found or found[2] not in UNITS:
        raise click.BadParameter(f"{text!r} is no size: write it like 65536, 64KiB or 4MiB.")
    return int(found[1]) * UNITS[found[2]]


def seconds(text: str) -> float:
    """A number of seconds, from a hundredth to an hour."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not SHORTEST_TIMEOUT <= found <= LONGEST_TIMEOUT:
        raise click.BadParameter(f"{text!r} is not in the range of {SHORTEST_TIMEOUT} to {LONGEST_TIMEOUT} seconds.")
    return found


def slot_name(text: str) -> str:
    """What PostgreSQL takes as the name of a replication slot."""
    if not re.fullmatch(r"[a-z0-9_]{1,63}", text):
        raise click.BadParameter(f"{text!r} is no slot's name: lower-case letters, digits and _ make one.")
    return text


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


slot_option = click.option(
    "--slot", type=slot_name, default="segment_webhook", show_default=True, help="Replication slot, one for each webhook."
)


def checked_url(_context: click.Context, _parameter: click.Parameter, url: str) -> str:
    """A URL that can be posted to."""
    parse_url(url)
    return url


def parsed_secrets(_context: click.Context, _parameter: click.Parameter, secrets: tuple[str, ...]) -> tuple[bytes, ...]:
    """The keys in one or two secrets."""
    if len(secrets) > MOST_SECRETS:
        raise click.BadParameter("two secrets at most: the one in use and its successor.")
    return tuple(map(parse_secret, secrets))


@main.command()
@click.option("--url", required=True, envvar="WEBHOOK_URL", show_envvar=True, callback=checked_url, help="Where to post.")
@slot_option
@click.option("--publication", type=click.Choice(list(OUTCOMES)), default="segment_toggles", show_default=True,
              help="What to post: segment_changes adds first adds and first removes.")  # fmt: skip
@click.option("--from", "start", type=click.Choice(["now", "start"]), default="now", show_default=True,
              help="Where a new slot begins: with all toggles so far, or with the next one.")  # fmt: skip
@click.option("--max-documents", type=click.IntRange(1), default=10_000, show_default=True, help="Most documents in a call.")
@click.option("--max-bytes", type=size, default="4MiB", show_default=True, help="Largest body, before compression.")
@click.option("--max-buffer", type=click.IntRange(1), default=50_000, show_default=True,
              help="Most documents that wait; then reading pauses.")  # fmt: skip
@click.option("--timeout", type=seconds, default="30", show_default=True,
              help="Seconds that a call may take.")  # fmt: skip
@click.option("--gzip", "compress", is_flag=True, help="Compress the bodies.")
@click.option("--secret", "secrets", multiple=True, envvar="WEBHOOK_SECRET", show_envvar=True, callback=parsed_secrets,
              help="Sign by it: whsec_ and base64; two to rotate. Better in the variable: others see command lines.")  # fmt: skip
@click.option("--on-poison", type=click.Choice(["set-aside", "stop"]), default="set-aside", show_default=True,
              help="When the receiver refuses a document for good: make it a dead letter, or stop.")  # fmt: skip
@click.option("--wait", is_flag=True, help="While another listener has the slot stand by, and take over when it is gone.")
@click.option("--until-caught-up", is_flag=True, help="Exit when everything is delivered that was committed at the start.")
@click.option("--log-json", is_flag=True, help="Log JSON, one object a line.")
def run(start: str, on_poison: str, log_json: bool, **options: Any) -> None:
    """Post every toggle to a webhook, in order, from the replication slot on.

    While one call is being answered the next toggles gather, so a slow receiver gets fewer and larger calls. What is not accepted
    is posted again for as long as it takes; killed at any point and run again, the command goes on where it was.
    """
    log_to_stderr(log_json)
    chosen = Options(whole_past=start == "start", stop_on_poison=on_poison == "stop", **options)
    asyncio.run(until_stopped(chosen))


async def until_stopped(options: Options) -> None:
    """Listen until SIGINT or SIGTERM; a second signal ends the process as usual."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def stop(number: signal.Signals) -> None:
        stopping.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    await listen(options, stopping)


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

    async def dropping(connection: Connection) -> None:
        await slots.drop(connection, slot)

    asyncio.run(with_database(dropping))
    click.echo(f"{slot} is gone; a listener that starts with it makes it anew.")


async def with_database(work: Any) -> Any:
    """Do work on a connection that is closed afterwards."""
    database = Database()
    await database.open()
    try:
        await database.run(check_migrated)
        return await database.run(work)
    finally:
        await database.close()
