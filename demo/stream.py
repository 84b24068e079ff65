"""Generated events on their way to a loader in the role segment_loader, which is a process of its own."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from demo import postgres
from demo.errors import StepFailedError
from loader.generate import generate

ROOT = Path(__file__).resolve().parents[1]
LOG = postgres.STATE / "loader.log"
LOADER = (sys.executable, "-m", "loader")


@dataclass
class Stream:
    """Generated events on their way to the loader; the same seed and start give the same events again."""

    rate: float
    seed: int
    start: datetime
    sent: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self, environment: Mapping[str, str]) -> Iterator[None]:
        """Generate and load for as long as the block runs; then everything sent is loaded before this returns."""
        loader = self._loader(environment)
        generator = self._generator()
        pump = threading.Thread(target=self._pump, args=(generator, loader), name="pump")
        pump.start()
        try:
            yield
        finally:
            generator.terminate()
            pump.join()
            generator.wait()
            if loader.wait():
                raise self.failed()

    def generate_again(self) -> Iterator[bytes]:
        """The lines that were sent, once more."""
        for _, lines in generate(count=self.sent, start=self.start, rate=self.rate, seed=self.seed):
            yield from lines

    def _pump(self, generator: subprocess.Popen[bytes], loader: subprocess.Popen[bytes]) -> None:
        """Pass whole lines on and count them; what the generator had begun when it was ended is dropped."""
        rest = b""
        with contextlib.suppress(BrokenPipeError), loader.stdin:  # type: ignore[union-attr]
            while chunk := os.read(generator.stdout.fileno(), 1 << 16):  # type: ignore[union-attr]
                lines, newline, rest = (rest + chunk).rpartition(b"\n")
                loader.stdin.write(lines + newline)  # type: ignore[union-attr]
                loader.stdin.flush()  # type: ignore[union-attr]
                self.sent += lines.count(b"\n") + len(newline)
        self.ended.set()

    def _generator(self) -> subprocess.Popen[bytes]:
        options = {"--rate": self.rate, "--seed": self.seed, "--start": self.start.isoformat()}
        command = [*LOADER, "generate", *(str(word) for option in options.items() for word in option)]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True)

    def _loader(self, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        command = [*LOADER, "stream", "--source", "demo", "--lanes", "1", "-"]
        where = os.environ | environment | {"PGUSER": "segment_loader"}
        with LOG.open("wb") as log:
            return subprocess.Popen(command, cwd=ROOT, env=where, stdin=subprocess.PIPE, stderr=log, start_new_session=True)

    def failed(self) -> StepFailedError:
        """The error that tells what the loader said last."""
        return StepFailedError(step="loading", said=LOG.read_text(errors="replace").strip().rpartition("\n")[2])
