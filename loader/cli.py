"""The loader's commands. Only this module and `options` know click; every error that a user can cause ends here as a sentence."""

import errno
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial, wraps
from secrets import randbits
from threading import Event
from types import FrameType
from typing import Any, BinaryIO

import click
import psycopg
from rich.console import Console

from loader.copy import Counts
from loader.database import Session, check, connect, sentence
from loader.errors import BadSource, LoaderError, NotValid
from loader.follow import Follower, check_followable
from loader.generate import generate
from loader.options import FiniteRange, duration, max_future_option, max_line_option, share, timestamp
from loader.rejects import Selection, exported, find_reject, list_rejects, pages
from loader.retry import Result, retry
from loader.source import check_readable, expand, finish, is_empty, open_source, printable, visible
from loader.status import status
from loader.stream import Options, Stream
from loader.validate import Report, validate

PROGRESS_SECONDS = 5.0
"""How often a line of progress is written where there is no terminal."""


class Group(click.Group):
    """Commands whose errors are sentences on stderr, with exit code 1."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except LoaderError as error:
            raise click.ClickException(str(error)) from None
        except psycopg.Error as error:
            raise click.ClickException(str(sentence(error))) from None
        except OSError as error:
            raise unwritten(error) from None


def unwritten(error: OSError) -> BaseException:
    """What to raise when it is the output that could not be written; nothing more is, not even at the end."""
    if error.errno not in (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF):
        return error
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if isinstance(error, BrokenPipeError):
        return SystemExit(0)  # whoever read it has had enough
    return click.ClickException(
        f"Standard output cannot be written ({error.strerror}), so what was written is not whole; what was loaded stays loaded."
    )


def output() -> BinaryIO:
    """Standard output, for bytes."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return sys.stdout.buffer


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="pgsegments")
def main() -> None:
    """Load segment events into PostgreSQL, where they become memberships.

    The database is the one that psql would use: PGHOST, PGDATABASE, PGUSER, PGSERVICE, …
    """


@main.command()
@click.argument("files", nargs=-1, type=click.Path(allow_dash=True))
@click.option("--rate", type=FiniteRange(0, min_open=True), help="Events per second, in all.  [default: no limit]")
@click.option("--lanes", type=click.IntRange(1, 16), default=2, show_default=True, help="Connections, which share out the users.")
@click.option("--batch-size", type=click.IntRange(1), default=40_000, show_default=True, help="Most events in a batch.")
@click.option("--linger", type=duration, default="100ms", show_default=True, help="Longest wait for a batch to fill.")
@click.option("--source", help="Name under which positions and rejects are kept.  [default: the file's path]")
@max_future_option
@max_line_option
@click.option("--retry-for", type=duration, default="60s", show_default=True, help="How long to wait for a server that is gone.")
@click.option("--follow", is_flag=True, help="Go on as the file grows and is rotated, until SIGINT or SIGTERM.")
@click.option("--json", "as_json", is_flag=True, help="Write the summary to stdout as one JSON object.")
def stream(files: tuple[str, ...], source: str | None, follow: bool, as_json: bool, max_future: float, **options: object) -> None:
    """Load events from FILES, one JSON object a line; from stdin when there are none, or for "-".

    FILES may be compressed by gzip or zst, and quoted patterns such as 'events/*.ndjson.gz', which are sorted by name.

    A file is loaded exactly once: stopped or killed at any point and run again, the command goes on where it was; on a file that
    was loaded it does nothing. Lines that are no valid event go to segment_rejects, and the stream goes on. With --follow a last
    line without its end waits for that, and a file that is rotated is finished before the next one is begun.
    """
    names = inputs(files)
    if source is not None and len(names) > 1:
        raise click.UsageError("--source names one source: give it with one file.")
    if follow and len(names) > 1:
        raise click.UsageError("--follow reads one file: start a loader for each.")
    for name in names:
        (check_followable if follow else check_readable)(name)
    with stopping_on_signals() as stopping, progress() as show:
        chosen = Options(max_future=timedelta(seconds=max_future), **options)  # type: ignore[arg-type]
        with Stream(chosen, stopping, show.counts) as streaming:
            load = partial(follow_one if follow else load_one, streaming, source=source, show=show)
            load_all(streaming, load, names, show, as_json)


def inputs(files: tuple[str, ...]) -> list[str]:
    """What is to be read, one after the other; of several files those that hold something."""
    names = expand(files) or ["-"]
    filled = [name for name in names if not is_empty(name)] or names
    for name in names:
        if name not in filled:
            click.echo(f"{visible(printable(name))} is empty", err=True)
    return filled


def load_all(streaming: Stream, load: Callable[[str], bool], names: Sequence[str], show: "Progress", as_json: bool) -> None:
    """Load the files one after the other; the summary tells what was committed, also when the last of it failed."""
    started = time.monotonic()
    complete = False
    try:
        complete = all(load(name) for name in names)
    finally:
        summarise(streaming.counts, time.monotonic() - started, complete, as_json, show)


def load_one(streaming: Stream, name: str, source: str | None, show: "Progress") -> bool:
    """Load one file; return whether it was read to its end."""
    with open_source(name, source) as opened:
        show.say(streaming.open(opened))
        complete = streaming.load(opened)
        if complete and opened.problem:
            raise BadSource(opened.problem)
        if complete:
            streaming.ask(lambda connection: finish(connection, opened))
    if not complete:
        show.say("stopped as asked: run the same command again to go on")
    return complete


def follow_one(streaming: Stream, name: str, source: str | None, show: "Progress") -> bool:
    """Follow one file until told to stop; it has no end that was reached."""
    Follower(streaming, name, source, show.say).run()
    show.say("stopped as asked: run the same command again to go on")
    return False


def summarise(counts: Counts, seconds: float, complete: bool, as_json: bool, show: "Progress") -> None:
    """Say what was committed: to stderr for people, to stdout as JSON for programs."""
    rate = counts.loaded / seconds if seconds else 0.0
    show.say(f"{describe(counts)} in {seconds:.1f} s ({rate:,.0f} events/s)")
    if as_json:
        click.echo(json.dumps({**counts._asdict(), "seconds": round(seconds, 3), "complete": complete}))


def describe(counts: Counts) -> str:
    """The counts in words."""
    suppressed = f", {counts.suppressed:,} of erased users" if counts.suppressed else ""
    return f"{counts.loaded:,} loaded, {counts.duplicates:,} duplicates, {counts.rejected:,} rejected{suppressed}"


class Progress:
    """Tells on stderr how it goes: one live line in a terminal, otherwise a line every few seconds."""

    def __init__(self, console: Console, update: Callable[[str], None], every: float) -> None:
        self._console = console
        self._update = update
        self._every = every
        self._told_at = time.monotonic()
        self._told = Counts()

    def say(self, text: str) -> None:
        """Write a line that stays; names of files may have anything in them."""
        self._console.print(visible(text), markup=False, highlight=False, soft_wrap=True)

    def counts(self, counts: Counts) -> None:
        """Take note of the counts so far."""
        now = time.monotonic()
        if now - self._told_at < self._every or counts == self._told:
            return
        rate = sum(counts) - sum(self._told)
        self._update(f"{describe(counts)} · {rate / (now - self._told_at):,.0f} lines/s")
        self._told_at, self._told = now, counts


@contextmanager
def progress() -> Iterator[Progress]:
    """Progress on stderr, for as long as the block runs."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Progress(console, lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True), PROGRESS_SECONDS)
        return
    with console.status("connecting") as status:
        yield Progress(console, status.update, 0.5)


@contextmanager
def stopping_on_signals() -> Iterator[Event]:
    """An event that SIGINT and SIGTERM set; a second signal ends the process as usual."""
    stopping = Event()

    def stop(number: int, _frame: FrameType | None) -> None:
        stopping.set()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@main.command("validate")
@click.argument("files", nargs=-1, type=click.Path(allow_dash=True))
@max_future_option
@max_line_option
@click.option("--json", "as_json", is_flag=True, help="Write the report as one JSON object.")
def validate_command(files: tuple[str, ...], max_future: float, max_line: int, as_json: bool) -> None:
    """Tell how many lines of FILES are valid events, and what is wrong with the others; needs no database.

    Reads as stream does: stdin when there are no files, or for "-". Exit code 1 when a line is not valid. What only a database
    knows is not judged: duplicates, conflicts, what it would refuse, and its horizon.
    """
    names = inputs(files)
    for name in names:
        check_readable(name)
    report = Report()
    problem = ""
    for name in names:
        with open_source(name, None) as opened:
            validate(opened, report, timedelta(seconds=max_future), max_line)
            if problem := opened.problem:
                break
    for line in [json.dumps(report.json())] if as_json else report.lines():
        click.echo(line)
    if problem:
        raise BadSource(problem)
    if report.invalid:
        raise NotValid(report.invalid, report.valid + report.invalid)


@main.command("status")
@click.option("--json", "as_json", is_flag=True, help="Write everything as one JSON object.")
def status_command(as_json: bool) -> None:
    """Show each source and how far it was read, rejects by reason, sizes, partitions, and when the last batch came."""
    with connect() as connection:
        check(connection)
        found = status(connection)
    for line in [json.dumps(found.json(), default=datetime.isoformat)] if as_json else found.lines():
        click.echo(line)
    if warning := found.warning():
        click.echo(warning, err=True)


@main.group()
def rejects() -> None:
    """Lines that are no valid event: what is wrong with them, and where they came from."""


@rejects.command("list")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many of the latest.")
def rejects_list(limit: int) -> None:
    """List the latest rejects: number, source, position, code and reason."""
    with connect() as connection:
        check(connection)
        for number, source, position, code, reason in list_rejects(connection, limit):
            click.echo(f"{number}  {source}:{position}  {code}  {reason}")


@rejects.command("show")
@click.argument("number", type=int)
def rejects_show(number: int) -> None:
    """Show one reject with the line as it came, on stdout; what is known of it goes to stderr."""
    with connect() as connection:
        check(connection)
        reject = find_reject(connection, number)
    when = f"{reject.rejected_at:%Y-%m-%dT%H:%M:%SZ}"
    click.echo(f"{visible(reject.source)}, byte {reject.position}, {reject.length} bytes, rejected {when}", err=True)
    click.echo(f"{reject.code}: {reject.reason}", err=True)
    to_terminal = sys.stdout is not None and sys.stdout.isatty()
    click.echo(visible(reject.bytes.decode(errors="backslashreplace")) if to_terminal else reject.bytes)


def selecting(command: Callable[..., None]) -> Callable[..., None]:
    """The arguments that select rejects, made one."""

    @click.argument("numbers", nargs=-1, type=int)
    @click.option("--code", help="Only those with this code, such as future.")
    @click.option("--source", help="Only those from this source.")
    @wraps(command)
    def selected(numbers: tuple[int, ...], code: str | None, source: str | None, **options: object) -> None:
        command(Selection(numbers, code, source), **options)

    return selected


@rejects.command("retry")
@selecting
@max_future_option
def rejects_retry(selection: Selection, max_future: float) -> None:
    """Try the rejects of these NUMBERS again, or all: what is a valid event now is loaded, and leaves the quarantine with that.

    Each is loaded exactly once, wherever the command is killed and however many run at once; the others stay as they are. For
    when a larger --max-future, another horizon or a newer loader judges otherwise.
    """
    result = Result()
    with closing(Session(0, Event())) as session:
        try:
            retry(session, selection, timedelta(seconds=max_future), result)
        finally:
            click.echo("\n".join(result.lines()))


@rejects.command("export")
@selecting
def rejects_export(selection: Selection) -> None:
    """Write the rejects of these NUMBERS, or all, to stdout: one JSON object a line, with the line as it came.

    It is text in "line" where it is UTF-8, otherwise in "base64"; of an over-long line its beginning, and "sha256" of the whole.
    """
    with closing(Session(0, Event())) as session:
        for page in pages(session, selection):
            for reject in page:
                output().write(exported(reject))
    output().flush()


@main.command(name="generate")
@click.option("--count", type=click.IntRange(0), help="How many events.  [default: without end]")
@click.option("--rate", type=FiniteRange(0, min_open=True), help="Events per second.  [default: no limit, 1 ms apart]")
@click.option("--segments", type=click.IntRange(1, 1_000_000), default=500, show_default=True, help="Segments; a few get most.")
@click.option("--users", type=click.IntRange(1, 1 << 24), default=10_000, show_default=True, help="Users; a few get most.")
@click.option("--adds", type=share, default=0.7, show_default=True, help="The share of adds.")
@click.option("--bots", type=share, default=0, help="The share of events about five bots.  [default: none]")
@click.option("--late", type=share, default=0, help="The share of timestamps up to a day in the past.  [default: none]")
@click.option("--values", type=share, default=0, help="The share of adds with a value.  [default: none]")
@click.option("--duplicates", type=share, default=0, help="The share of lines that came before, byte by byte.  [default: none]")
@click.option(
    "--invalid", type=share, default=0, help="The share of lines that are no valid event, of all kinds.  [default: none]"
)
@click.option("--start", type=timestamp, help="The first timestamp.  [default: now]")
@click.option("--seed", type=int, help="The same seed and start give the same bytes.  [default: a new one each time]")
def generate_command(rate: float | None, start: datetime | None, seed: int | None, **options: Any) -> None:
    """Write a synthetic stream of events to stdout, two in five of them restating an earlier one."""
    if options["duplicates"] + options["invalid"] > 1:
        raise click.UsageError("--duplicates and --invalid are shares of the same lines: together they are at most 1.")
    seed = randbits(63) if seed is None else seed
    chunks = generate(rate=rate, start=start or datetime.now(UTC), seed=seed, **options)
    began = time.monotonic()
    try:
        for first, lines in chunks:
            for due in pace(first, lines, rate, began):
                output().write(b"".join(due))
                output().flush()
    except OverflowError:
        raise LoaderError("The timestamps leave the years 1 to 9999: choose another --start or a smaller --count.") from None


def pace(first: int, lines: list[bytes], rate: float | None, began: float) -> Iterator[list[bytes]]:
    """Yield the lines when they are due, those that are due together at once; `first` is the index of the first one."""
    if rate is None:
        yield lines
        return
    done = 0
    while done < len(lines):
        elapsed = time.monotonic() - began
        due = min(len(lines), int(elapsed * rate) + 1 - first)
        if due > done:
            yield lines[done:due]
            done = due
        else:
            time.sleep(min(1.0, max(0.002, (first + done) / rate - elapsed)))
