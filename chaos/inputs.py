r"""The events: files that grow, pieces through a pipe, and files loaded as a whole. What was sent is kept, to be accounted for.

The lines are a function of the seed, but for their timestamps, which begin with the run. Lines that are no event are in files
alone, which are read exactly once; of a pipe a piece is sent again when its loader did not live to say that it has all of it.
"""

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from itertools import islice
from pathlib import Path
from random import Random
from subprocess import PIPE
from typing import Any, Final, NamedTuple

from chaos.program import Program
from loader.generate import generate

SHARES: Final[dict[str, Any]] = {
    "segments": 12,
    "users": 2000,
    "adds": 0.6,
    "late": 0.02,
    "values": 0.3,
    "duplicates": 0.02,
    "bots": 0.02,
}
INVALID: Final = 0.01
TICK: Final = 0.05
PIECE_SECONDS: Final = 8.0
BATCH: Final = 1500
ENDING_SECONDS: Final = 120.0
"""In which a loader that has all of its input is done with it."""


class Source(NamedTuple):
    """What a loader was given: the name that the database knows it by, the file of its lines, and whether each counts once."""

    name: str
    path: Path
    exact: bool = True


def events(seed: str, start: datetime, rate: float, invalid: float = 0) -> Iterator[bytes]:
    """Lines without end."""
    number = Random(seed).getrandbits(32)  # noqa: S311
    for _, lines in generate(count=None, start=start, rate=rate, seed=number, invalid=invalid, **SHARES):
        yield from lines


class Growing:
    """A file that grows by so many lines a second, in pieces that end anywhere, until it is ended; `lines` it has then."""

    def __init__(self, path: Path, seed: str, start: datetime, rate: float) -> None:
        self.source = Source(str(path), path)
        self.lines = 0
        self._rate = rate
        self._events = events(seed, start, rate, INVALID)
        self._cuts = Random(f"{seed} cuts")  # noqa: S311
        self._ending = threading.Event()
        path.touch()
        self._thread = threading.Thread(target=self._grow, name=path.name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> bool:
        """End it with a whole line; false: it does not end."""
        self._ending.set()
        self._thread.join(ENDING_SECONDS)
        return not self._thread.is_alive()

    def _grow(self) -> None:
        began, rest = time.monotonic(), b""
        with self.source.path.open("ab", buffering=0) as file:
            while not self._ending.wait(TICK):
                due = int((time.monotonic() - began) * self._rate)
                rest += b"".join(islice(self._events, due - self.lines))
                self.lines = due
                cut = int(len(rest) * self._cuts.random())
                file.write(rest[:cut])
                rest = rest[cut:]
            file.write(rest)


class Pipe:
    """Pieces of a stream, each to a loader of its own, until one has taken it; `redeliver` has an earlier one sent again."""

    def __init__(self, path: Path, seed: str, start: datetime, rate: float, loader: Program) -> None:
        self.abandoned = threading.Event()  # set: what is not loaded does not matter any more
        self.source = Source("pipe", path, exact=False)
        self.loader = loader
        self._rate = rate
        self._lines = events(seed, start, rate)
        self._pieces: list[tuple[int, int]] = []
        self._again: list[float] = []
        self._ending = threading.Event()
        path.touch()
        self._thread = threading.Thread(target=self._send, name="pipe", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def redeliver(self, chance: float) -> None:
        """Send an earlier piece again, once the present one is taken."""
        self._again.append(chance)

    def end(self) -> bool:
        """End with the piece that is being sent; false: no loader takes it."""
        self._ending.set()
        self._thread.join(ENDING_SECONDS)
        return not self._thread.is_alive()

    def _send(self) -> None:
        while not self._ending.is_set():
            piece = list(islice(self._lines, int(self._rate * PIECE_SECONDS)))
            start = self.source.path.stat().st_size
            with self.source.path.open("ab") as file:
                file.writelines(piece)
                self._pieces.append((start, file.tell()))
            self._deliver(piece, self._rate)
            while self._again:
                start, end = self._pieces[int(self._again.pop() * len(self._pieces))]
                self._deliver(self._read(start, end), None)

    def _read(self, start: int, end: int) -> list[bytes]:
        with self.source.path.open("rb") as file:
            file.seek(start)
            return file.read(end - start).splitlines(keepends=True)

    def _deliver(self, lines: list[bytes], rate: float | None) -> None:
        """Send the lines until a loader has taken them: at their rate, and when they come again at once."""
        while not self.abandoned.is_set():
            process = self.loader.start(PIPE)
            with suppress(BrokenPipeError), process.stdin as pipe:  # type: ignore[union-attr]
                for line in lines if rate is None else self._paced(lines, rate):
                    pipe.write(line)
                    if rate:
                        pipe.flush()
            end = self.loader.wait(ENDING_SECONDS)
            if end and end.code == 0:
                return
            self.loader.kill()
            self.loader.wait(ENDING_SECONDS)
            rate = None

    def _paced(self, lines: list[bytes], rate: float) -> Iterator[bytes]:
        began = time.monotonic()
        for number, line in enumerate(lines):
            self._ending.wait(max(0.0, began + number / rate - time.monotonic()))
            yield line


class Batches:
    """Files that are there as a whole, some compressed, loaded by one command over all of them, which is killed and run again."""

    def __init__(self, folder: Path, seed: str, start: datetime, loader: Program) -> None:
        self.loader = loader
        self.abandoned = threading.Event()
        self.sources: list[Source] = []
        self._folder = folder
        self._seed = seed
        self._start = start
        folder.mkdir()

    def add(self) -> None:
        """Make another file."""
        number = len(self.sources)
        suffix, write = (".ndjson.gz", gzip.open) if number % 2 else (".ndjson", open)
        path = self._folder / f"{number:06d}{suffix}"
        unfinished = self._folder / "unfinished"
        with write(unfinished, "wb") as file:
            file.writelines(islice(events(f"{self._seed} {number}", self._start, 1000, INVALID), BATCH))
        unfinished.rename(path)
        self.sources.append(Source(str(path), path))

    def load(self, is_begun: Callable[[], bool], kill_after: float) -> bool:
        """Load all that is there, killing the loader once, so many seconds after the newest file is begun; false: it was done."""
        killed = False
        self.loader.start()
        while not self.abandoned.is_set():
            if not killed and is_begun():
                self.abandoned.wait(kill_after)
                killed = self.loader.kill()
            if end := self.loader.wait(TICK):
                if end.code == 0:
                    break
                self.loader.start()
        return killed
