"""`python -m demo` shows events becoming memberships; `… demo postgres` and `… demo webhook` are parts for one's own shell."""

import os
import shlex
import signal
from types import FrameType

import click
import psycopg

from demo import postgres, run, watch
from demo.calls import LONGEST_DELAY, Settings
from demo.errors import DemoError
from loader.options import FiniteRange


@click.group(invoke_without_command=True)
@click.option("--rate", type=FiniteRange(0, min_open=True), default=1000, show_default=True, help="Events per second.")
@click.option("--seconds", type=FiniteRange(0, min_open=True), help="Run unattended for so long, then check every event.")
@click.option(
    "--page/--no-page",
    default=None,
    help="A page in the browser, or a view in the terminal.  [default: the page where there is a display and no --seconds]",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8642,
    show_default=True,
    help="Of the page; the next free one if it is taken.",
)
@click.pass_context
def main(context: click.Context, rate: float, seconds: float | None, page: bool | None, port: int) -> None:
    """Stream generated events into a PostgreSQL of the checkout's own and watch the memberships."""
    postgres.forget_other_servers()
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    if page is None:
        page = seconds is None and any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    if context.invoked_subcommand is None and not run.demo(rate, seconds, port if page else None):
        raise SystemExit(1)


def interrupt(_number: int, _frame: FrameType | None) -> None:
    """End the demo, once: stopping what it started is not to be interrupted."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


@main.command()
@click.option("--port", type=click.IntRange(0, 65535), default=9000, show_default=True, help="On 127.0.0.1; 0 is any free one.")
@click.option("--delay", type=FiniteRange(0, LONGEST_DELAY), default=50, show_default=True, help="Milliseconds before an answer.")
@click.option("--fail-rate", type=FiniteRange(0, 1), default=0, show_default=True, help="The share of calls answered with 503.")
@click.option("--status", type=click.IntRange(200, 599), default=200, show_default=True, help="What the others are answered.")
@click.option("--hang", is_flag=True, help="Take calls and never answer.")
@click.option("--show", type=click.IntRange(0), help="Most documents to print of a call.  [default: all]")
def webhook(port: int, show: int | None, **settings: object) -> None:
    """Receive webhooks and print them as they come."""
    watch.watch(port, Settings(**settings), show)  # type: ignore[arg-type]


@main.group("postgres")
def server() -> None:
    """The checkout's own PostgreSQL server."""


@server.command()
def start() -> None:
    """Start it, with an empty database "segments" the first time."""
    own = postgres.default_server()
    own.start()
    own.ensure_database(run.OWN_DATABASE)
    click.echo('It runs. For this shell: eval "$(python -m demo postgres env)"')


@server.command()
def stop() -> None:
    """Stop it; its data stay."""
    postgres.default_server().stop()


@server.command()
def env() -> None:
    """Print the PG* exports for a shell: eval "$(python -m demo postgres env)"."""
    database = run.running_database() or run.OWN_DATABASE
    for name, value in postgres.default_server().environment(database).items():
        click.echo(f"export {name}={shlex.quote(value)}")


@server.command()
def schema() -> None:
    """Print what the migrations result in, as migrations/schema.sql has it."""
    click.echo(run.schema(), nl=False)


@server.command()
def remove() -> None:
    """Stop it and remove everything it has."""
    postgres.default_server().remove()


if __name__ == "__main__":
    try:
        main(prog_name="python -m demo")
    except DemoError as error:
        raise SystemExit(f"Error: {error}") from None
    except psycopg.OperationalError as error:
        words = " ".join(str(error).split())
        raise SystemExit(f"Error: PostgreSQL went away ({words}), so there is nothing to show; start the demo again.") from None
