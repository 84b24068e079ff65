"""What the demo shows: in a terminal a live screen, elsewhere a line a tick."""

import contextlib
import itertools
import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from demo.figures import OUTCOMES, Reading

QUERIES = Path(__file__).resolve().parents[1] / "queries"
SHOWN = ("pg_user_active_segments", "pg_event_outcomes", "pg_segment_membership", "pg_user_point_lookup")
VARIABLES = ("-v", "rows=10", "-v", "to_user=usr-000003")
QUERY_TICKS = 4
"""For how many ticks each query is shown."""


class Screen:
    """Shows readings, and the queries' results one after the other."""

    def __init__(self, console: Console, psql: Path, environment: Mapping[str, str]) -> None:
        self._console = console
        self._psql = psql
        self._environment = os.environ | environment
        self._live: Live | None = None
        self._ticks = itertools.count()

    @contextlib.contextmanager
    def live(self) -> Iterator["Screen"]:
        """Take the terminal, if it is one, for the length of the block; say how to look beside it."""
        self._console.print('beside it: eval "$(.venv/bin/python -m demo postgres env)" && psql', highlight=False, soft_wrap=True)
        if not self._console.is_terminal:
            yield self
            return
        with Live(console=self._console, auto_refresh=False, vertical_overflow="crop") as self._live:
            yield self

    def show(self, reading: Reading) -> None:
        """Show how it stands now."""
        tick = next(self._ticks)
        if self._live is None:
            self._console.print(line(reading), highlight=False, soft_wrap=True)
            return
        name = SHOWN[tick // QUERY_TICKS % len(SHOWN)]
        self._live.update(Group(figures(reading), self._result(name), Text("Ctrl-C stops", style="dim")), refresh=True)

    def _result(self, name: str) -> RenderableType:
        path = QUERIES / f"{name}.sql"
        question = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("-- ")
        command = [str(self._psql), "-X", "-P", "footer=off", *VARIABLES, "-f", str(path)]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        shown = Text((done.stdout or done.stderr).rstrip(), no_wrap=True, overflow="crop")
        return Panel(shown, title=question, title_align="left", subtitle=f"psql -f queries/{shlex.quote(name)}.sql")


def figures(reading: Reading) -> RenderableType:
    """The figures as three small tables."""
    counts = Table.grid(padding=(0, 2))
    for name, value in {
        "events/s": f"{reading.events_per_second:,.0f}",
        "events sent": f"{reading.sent:,}",
        "events reduced": f"{reading.events:,}, {state(reading)}",
        "batches": f"{reading.batches:,}",
        "memberships": f"{reading.sizes.memberships:,}, members now {reading.sizes.members:,}",
    }.items():
        counts.add_row(Text(name, style="dim"), value)
    outcomes = Table.grid(padding=(0, 2))
    for outcome in OUTCOMES:
        outcomes.add_row(Text(outcome, style="dim"), f"{reading.outcomes.get(outcome, 0):,}")
    webhook = Table.grid(padding=(0, 2))
    for name, value in {
        "toggles": f"{reading.toggles:,}",
        "delivered": f"{reading.delivered:,}, {delivery(reading)}",
        "calls/s": f"{reading.calls_per_second:,.1f}",
        "documents a call": f"{reading.documents_per_call:,.1f}",
    }.items():
        webhook.add_row(Text(name, style="dim"), value)
    panels = [
        Panel(counts, title="events become memberships"),
        Panel(outcomes, title="outcomes"),
        Panel(webhook, title="webhook"),
    ]
    return Columns(panels)


def line(reading: Reading) -> str:
    """The figures on one line."""
    outcomes = ", ".join(f"{reading.outcomes.get(outcome, 0):,} {outcome}" for outcome in OUTCOMES)
    return (
        f"{reading.sent:,} sent ({state(reading)}), {reading.events_per_second:,.0f} events/s, "
        f"{reading.sizes.memberships:,} memberships; {outcomes}; {reading.delivered:,} toggles delivered ({delivery(reading)}), "
        f"{reading.calls_per_second:,.1f} calls/s, {reading.documents_per_call:,.1f} documents a call"
    )


def delivery(reading: Reading) -> str:
    """Whether every toggle is delivered."""
    waiting = reading.toggles - reading.delivered
    return f"{waiting:,} on their way" if waiting > 0 else "caught up"


def state(reading: Reading) -> str:
    """Whether everything sent is reduced."""
    return f"{reading.on_their_way:,} on their way" if reading.on_their_way else "all that was sent"
