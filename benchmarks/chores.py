"""What is done once a simulated day beside the stream of a soak: retention, and a file that is loaded to its end."""

import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from secrets import randbits
from threading import Event
from typing import NamedTuple

from benchmarks.ageing import Calendar
from benchmarks.events import LOADER
from benchmarks.process import said
from benchmarks.steady import SEGMENTS, USERS
from demo.postgres import Server
from loader.generate import generate

KEEP = 4
"""Days of events, outcomes and rejects that are kept, beside the one that is."""

OF_FILE, INVALID = 200, 0.05
"""Lines of a day's file, and the share of those that are no event."""

LAKE = (sys.executable, "-m", "lake")
KINDS = ("events", "outcomes", "batches", "sources", "rejects")


class Place(NamedTuple):
    """Where a soak runs: a database of a server, and a folder for the lake, files and logs."""

    server: Server
    database: str
    folder: Path

    @property
    def lake(self) -> Path:
        """The folder of the lake."""
        return self.folder / "lake"

    def environment(self, role: str) -> dict[str, str]:
        """What libpq needs to connect in a role."""
        return self.server.environment(self.database) | {"PGUSER": role}


def daily(calendar: Calendar, every: int, work: Callable[[], object], stopping: Event) -> None:
    """Do a work whenever so many days have begun, until told to stop; days that begin meanwhile are left out."""
    done = 0
    while True:
        begun = int((time.time() - calendar.began_at) / calendar.day_seconds)
        done = max(done + every, begun)
        if stopping.wait(calendar.began_at + done * calendar.day_seconds - time.time()):
            return
        work()


def prune(place: Place, calendar: Calendar) -> dict[str, int]:
    """Prune up to the simulated day but for what is kept; return how many of each kind went."""
    back = (datetime.now(UTC).date() - calendar.day(time.time())).days
    keep = f"{back + KEEP}d"
    command = (*LAKE, "prune", place.lake, "--keep", keep, "--keep-rejects", keep)
    return counts(said(command, place.environment("segment_keeper")))


def counts(words: str) -> dict[str, int]:
    """The numbers of the sentence with which `lake prune` ends."""
    _, _, last = " ".join(words.split()).rpartition(" removed ")
    found = {kind: number for number, kind in re.findall(r"(\d[\d,]*) (\w+)", last)}
    return {kind: int(found[kind].replace(",", "")) for kind in KINDS}


def load_file(place: Place, calendar: Calendar) -> None:
    """Load a new file to its end, with events of this moment: a source that is finished, for retention to forget."""
    moment = calendar.simulated(time.time())
    file = place.folder / f"{moment:%Y%m%dT%H%M%S}.ndjson"
    shape = {"users": USERS, "segments": SEGMENTS}
    chunks = generate(count=OF_FILE, start=moment, rate=1e6, seed=randbits(32), invalid=INVALID, **shape)
    file.write_bytes(b"".join(line for _, chunk in chunks for line in chunk))
    said([*LOADER, "stream", file], place.environment("segment_loader"))
    file.unlink()
