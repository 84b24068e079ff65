"""`python -m demo` shows events becoming memberships; `python -m demo postgres …` is the server alone, for one's own shell."""

import shlex
import signal
from types import FrameType

import click

from demo import postgres, run
from demo.errors import DemoError
from loader.cli import FiniteRange


@click.group(invoke_without_command=True)
@click.option("--rate", type=FiniteRange(0, min_open=True), default=1000, show_default=True, help="Events per second.")
@click.option("--seconds", type=FiniteRange(0, min_open=True), help="Run unattended for so long, then check every event.")
@click.pass_context
def main(context: click.Context, rate: float, seconds: float | None) -> None:
    """Stream generated events into a PostgreSQL of the checkout's own and watch the memberships."""
    postgres.forget_other_servers()
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    if context.invoked_subcommand is None and not run.demo(rate, seconds):
        raise SystemExit(1)


def interrupt(_number: int, _frame: FrameType | None) -> None:
    """End the demo, once: stopping what it started is not to be interrupted."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


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
