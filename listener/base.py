"""When a cursor gets a new base: a snapshot of the database of which all is done with that it sees. Pure: no socket, no clock.

A snapshot is taken, and after it a position in the log; once delivery is past that position, everything is done with that the
snapshot sees. Times are seconds of any clock.
"""

EVERY = 60.0
"""Seconds after which the base is renewed even where nothing was done with."""


class Renewal:
    """The snapshot that is to be the next base."""

    def __init__(self) -> None:
        self._next: tuple[str, int] | None = None
        self._begun_at = -EVERY
        self._wanted = False

    def want(self) -> None:
        """Something was done with that the base does not see."""
        self._wanted = True

    def begin(self, now: float) -> bool:
        """Return whether a snapshot is to be taken now; what is done with from here on wants another."""
        if self._next or not (self._wanted or now - self._begun_at >= EVERY):
            return False
        self._wanted, self._begun_at = False, now
        return True

    def taken(self, snapshot: str, lsn: int) -> None:
        """A snapshot, and a position in the log that was read after it."""
        self._next = snapshot, lsn

    def reached(self, lsn: int) -> str | None:
        """The base that everything up to a position being delivered makes; None: there is none yet."""
        if self._next is None or lsn < self._next[1]:
            return None
        (found, _), self._next = self._next, None
        return found

    def forget(self) -> None:
        """The server may have crashed, and give ids again that the snapshot takes for over."""
        self._wanted |= self._next is not None
        self._next = None
