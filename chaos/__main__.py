"""`python -m chaos` runs everything under faults, and says what it did, how often, and what was lost: nothing.

The schedule and the events are a function of the seed; how the processes of one run interleave is not, so that a run that failed
may succeed when it is replayed. Exit code 1 where something is wrong, with a sentence for each of it.
"""

import secrets
import signal
import sys
from collections import Counter
from collections.abc import Iterator

import click

from chaos.program import End
from chaos.run import Result, Run
from demo.__main__ import interrupt
from demo.errors import DemoError
from demo.postgres import forget_other_servers
from loader.options import FiniteRange


@click.command()
@click.option("--minutes", type=FiniteRange(0, min_open=True), default=2, show_default=True, help="How long things go wrong.")
@click.option(
    "--seed", type=click.IntRange(0), help="Which faults happen when, and what is sent.  [default: a new one each time]"
)
def main(minutes: float, seed: int | None) -> None:
    """Run the whole pipeline under a seeded schedule of faults, and account for every event, toggle and line."""
    forget_other_servers()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    click.echo(f"seed {seed}")
    try:
        result = Run(seed, minutes * 60, click.echo).run()
    except KeyboardInterrupt:
        raise click.ClickException("The run was interrupted, so nothing is known of it: run it again.") from None
    except DemoError as error:
        raise click.ClickException(str(error)) from None
    for line in report(result):
        click.echo(line)
    click.echo(f"To do the same again: make chaos MINUTES={minutes:g} SEED={seed}")
    click.echo("The faults and the events come from the seed; which process is how far when a fault comes does not.")
    if result.findings:
        for finding in result.findings:
            click.echo(finding, err=True)
        where = "what the processes said, was sent and received, and the lake"
        click.echo(f"{len(result.findings)} findings; {where} are in {result.folder}", err=True)
        sys.exit(1)


def report(result: Result) -> Iterator[str]:
    """Lines of what was done and what was counted."""
    yield from table("what was done", result.faults)
    yield from table("processes that ended", Counter(map(describe, result.ends)))
    if figures := result.figures:
        yield from table("rejects, all expected", figures.rejects)
        yield from table("documents that came again, because of", figures.duplicates)
        calls = {"calls": result.calls["calls"], "calls accepted": result.calls["accepted"]}
        yield from table("what came of it", calls | figures.counts)
        yield from table("what was lost", figures.lost)


def describe(end: End) -> str:
    """How a process ended, in a few words."""
    if end.code == 0 or end.asked == "killed":
        return f"{end.name} {end.asked or 'was done'}"
    return f"{end.name} {end.asked or 'gave up'} ({end.code}): {end.said.partition(' (')[0]}"


def table(title: str, counts: dict[str, int]) -> Iterator[str]:
    """Names and counts below a title."""
    yield f"\n{title}:"
    for name, count in sorted(counts.items()) if isinstance(counts, Counter) else counts.items():
        yield f"{count:>11,}  {name}"


if __name__ == "__main__":
    main(prog_name="python -m chaos")
