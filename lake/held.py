"""Tells who holds back what could be exported, once it has lasted; and again only when something about it has changed."""

import time
from collections.abc import Callable

from lake import cut
from lake.errors import StillRunning
from loader.database import Connection

OLDER_SECONDS = 30.0
"""How long older transactions may last before they are named."""


class Held:
    """What was last seen to be held back, and who was told to hold it."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._batch: int | None = None
        self._since = 0.0
        self._told = ""

    def look(self, connection: Connection) -> None:
        """Look whether the same batch is still held back."""
        batch = cut.first_held(connection)
        if batch != self._batch:
            self._batch, self._since, self._told = batch, time.monotonic(), ""
        elif batch is not None and time.monotonic() - self._since >= OLDER_SECONDS:
            self._tell(cut.holders(connection))

    def _tell(self, holders: str) -> None:
        if holders != self._told:
            self._told = holders
            self._say(f"{held_by(holders)}: end it.")


def still_running(holders: str) -> StillRunning:
    """The error that names who has the older transaction."""
    return StillRunning(f"{held_by(holders)}: end it, and run the command again.")


def held_by(holders: str) -> str:
    """What happened, and what it means."""
    return f"An older transaction is still open, of {holders}, so what was committed since it began cannot be exported in order"
