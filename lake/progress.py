"""Progress on stderr: a bar in a terminal, otherwise a line every few seconds."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

SECONDS = 5.0
"""How often a line is written where there is no terminal."""

REFRESH_SECONDS = 0.1


class Bar:
    """How far a command is, of a total that it may not know."""

    def __init__(self, console: Console, live: Progress) -> None:
        self._console = console
        self._live = live
        self._task = live.add_task("connecting", total=None)
        self._every = SECONDS if live.disable else REFRESH_SECONDS
        self._told_at = time.monotonic()
        self._text = ""
        self._done = 0
        self._total: int | None = None

    def begin(self, total: int) -> None:
        """Measure against a total from now on."""
        self._total = total

    def advance(self, amount: int, text: str = "") -> None:
        """Be so much further; `text` says what that is in words."""
        self._done += amount
        self._text = text or self._text
        now = time.monotonic()
        if now - self._told_at >= self._every:
            self._told_at = now
            self._tell()

    def say(self, text: str) -> None:
        """Write a line that stays."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _tell(self) -> None:
        if self._live.disable:
            share = f" · {min(self._done / self._total, 1):.0%}" if self._total else ""
            self.say(f"{self._text}{share}")
        else:
            self._live.update(self._task, completed=self._done, total=self._total, description=self._text)


@contextmanager
def progress() -> Iterator[Bar]:
    """Progress for as long as the block runs."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as live:
        yield Bar(console, live)
