"""One file as it grows: its bytes from a position on, until it has a successor and there is no more to come."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from loader.source import CHUNK, FINGERPRINT, Source, unreadable

POLL_SECONDS = 0.05
"""How long a new line may wait to be seen."""


def look(path: str) -> os.stat_result | None:
    """The status of a regular file with something in it."""
    with suppress(OSError):
        found = os.stat(path)
        return found if stat.S_ISREG(found.st_mode) and found.st_size else None
    return None


@dataclass
class Growing(Source):
    """A file that is read as it grows, until it has a successor and there is no more to come."""

    seen: bytes = b""
    """Its first bytes as they were when it was opened or later, which tell whether it is still the same."""
    extend: Callable[[bytes], None] = field(default=lambda _: None)
    """Called with more of them, before a line beyond those known is committed."""
    succeeded: Callable[[Source], bool] = field(default=lambda _: False)
    pause: Callable[[float], object] = field(default=lambda _: None)

    def identity(self) -> tuple[bytes, int]:
        """By what was seen of it, for it may have been truncated since."""
        return hashlib.sha256(self.seen).digest(), len(self.seen)

    def chunks(self, linger: float) -> Iterator[bytes]:  # noqa: ARG002 - looking again is cheap
        """Yield what there is from the least position on, and an empty chunk whenever there is no more yet."""
        at = self.start
        while not self.gone:
            over = self.succeeded(self)  # asked before: what is read then is all there will be
            while chunk := self._next(at):
                at += len(chunk)
                yield chunk
            if over:
                return
            yield b""
            self.pause(POLL_SECONDS)

    def _next(self, at: int) -> bytes:
        """Return what follows, unless the file was truncated: looked at afterwards, so that no byte is of another content."""
        try:
            chunk, head, size = self.read(at, CHUNK), self.read(0, FINGERPRINT), self.size
        except OSError as error:
            raise unreadable(self.name, error) from None
        self.gone = size < at or not head.startswith(self.seen)
        if self.gone:
            return b""
        if len(head) > len(self.seen):
            self.extend(head)
            self.seen = head
        return chunk
