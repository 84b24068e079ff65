"""Generated events on their way to a loader in the role segment_loader, which is a process of its own.

Whenever the rate changes another generator takes over, with a seed of its own. A `Leg` says what one of them has sent, so that
all of it can be generated again: for the closing check, and for a loader whose predecessor died with lines in its pipe.
"""

import contextlib
import os
import queue
import select
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from secrets import randbits
from typing import Any, Final

from demo.program import ROOT, Program
from loader.generate import generate

SHARES: Final = {"late": 0.01, "duplicates": 0.01}
START_SECONDS: Final = 10.0
"""In which a generator has to have its first line."""


@dataclass
class Leg:
    """What one generator was asked for, and how many of its lines were sent."""

    rate: float
    seed: int
    start: datetime
    sent: int = 0

    def lines(self) -> Iterator[bytes]:
        """The lines that were sent, once more."""
        for _, lines in generate(count=self.sent, start=self.start, rate=self.rate, seed=self.seed, **SHARES):  # type: ignore[arg-type]
            yield from lines

    def generator(self) -> subprocess.Popen[bytes]:
        """A generator that has begun to write, without end."""
        options: dict[str, Any] = {"rate": self.rate, "seed": self.seed, "start": self.start.isoformat()} | SHARES
        words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        command = [sys.executable, "-m", "loader", "generate", *words]
        started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True)
        select.select([started.stdout], [], [], START_SECONDS)
        return started


class Stream:
    """The demo's events: so many a second, none while the rate is 0."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        stream = ("stream", "--source", "demo", "--lanes", "1", "-")
        self.loader = Program("loading", "segment_loader", environment, "loader", *stream)
        self.legs: list[Leg] = []
        self._generator: subprocess.Popen[bytes] | None = None
        self._pump: threading.Thread | None = None
        self._rate = 0.0

    @property
    def sent(self) -> int:
        """How many lines were sent to the loader."""
        return sum(leg.sent for leg in self.legs)

    def lines(self) -> Iterator[bytes]:
        """All lines that were sent, once more."""
        for leg in self.legs:
            yield from leg.lines()

    def start(self, taken: int = 0) -> None:
        """Start a loader, where one has died another, and send it again what was sent after the first `taken` lines."""
        self._end_pump()
        self._turns: queue.SimpleQueue[tuple[Leg, subprocess.Popen[bytes]] | None] = queue.SimpleQueue()
        loader = self.loader.start(stdin=subprocess.PIPE)
        self._pump = threading.Thread(target=self._pass_on, args=(loader, taken, self.sent), name="pump")
        self._pump.start()

    def flow(self, rate: float) -> None:
        """Send so many events a second from now on; the generator of before ends when its successor has begun."""
        if rate == self._rate:
            return
        self._rate, before, self._generator = rate, self._generator, None
        if rate:
            leg = Leg(rate, randbits(32), datetime.now(UTC))
            self._generator = leg.generator()
            self.legs.append(leg)
            self._turns.put((leg, self._generator))
        if before:
            before.terminate()

    def stop(self) -> None:
        """End the stream; everything that was sent is loaded when this returns."""
        self._end_pump()
        self.loader.finish()

    def _end_pump(self) -> None:
        """End what feeds the loader."""
        if self._pump:
            self.flow(0)
            self._turns.put(None)
            self._pump.join()
            self._pump = None

    def _pass_on(self, loader: subprocess.Popen[bytes], taken: int, sent: int) -> None:
        """Pass on the lines from `taken` to `sent` once more, and then what the generators write, one after the other."""
        with contextlib.suppress(BrokenPipeError), loader.stdin:  # type: ignore[union-attr]
            loader.stdin.writelines(islice(self.lines(), taken, sent))  # type: ignore[union-attr]
            while turn := self._turns.get():
                self._pump_lines(*turn, loader)

    def _pump_lines(self, leg: Leg, generator: subprocess.Popen[bytes], loader: subprocess.Popen[bytes]) -> None:
        """Count whole lines and pass them on; what the generator had begun when it was ended is dropped."""
        rest = b""
        with generator:
            try:
                while chunk := os.read(generator.stdout.fileno(), 1 << 16):  # type: ignore[union-attr]
                    lines, newline, rest = (rest + chunk).rpartition(b"\n")
                    leg.sent += lines.count(b"\n") + len(newline)
                    loader.stdin.write(lines + newline)  # type: ignore[union-attr]
                    loader.stdin.flush()  # type: ignore[union-attr]
            finally:
                generator.terminate()
