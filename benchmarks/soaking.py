"""A soak from its first event to its last: stream, listener, lake and retention, and samples of all of them meanwhile."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from subprocess import PIPE
from threading import Event
from typing import Any, NamedTuple

import msgspec
import psycopg

from benchmarks.ageing import Calendar, hasten, make_days
from benchmarks.bench import await_that
from benchmarks.chores import LAKE, Place, daily, load_file, prune
from benchmarks.events import LOADER
from benchmarks.process import Background, background, said
from benchmarks.sampling import ROLES, Sample, Sampler, Toggles
from demo.webhook import Receiver

SENDER = (sys.executable, "-m", "benchmarks.steady")
LISTENER = (sys.executable, "-m", "listener")
ACTIVE = "select from pg_replication_slots where slot_name = %s and active"

USUAL_WAIT = 3.0
"""Seconds from sample to sample: not in step with exports."""

FEWEST, MOST = 40, 1000
"""How many samples a run has, whatever its length: several in a third of it, and in a day."""

EXPORTS = 5.0
"""Seconds from export to export; with shorter days, a quarter of one."""

FIRST = """
select segment_ensure_partitions(current_date, current_date);
insert into segment_events (user_id, occurred_at, event_id, vendor, segment_name)
values ('soak', now(), gen_random_uuid(), 1, 'soak');
"""

Told = Callable[[str], None]


class Pruning(msgspec.Struct, frozen=True):
    """What one `lake prune` removed, at which second of the run it began, and how many it took."""

    at: float
    took: float
    removed: dict[str, int]


class Record(msgspec.Struct):
    """A whole soak: the seconds at which samples were taken, and each measure's values at these."""

    began: str
    seconds: float
    days: int
    rate: float
    times: list[float] = []
    series: dict[str, list[float | None]] = {}
    prunings: list[Pruning] = []
    delivered: int = 0
    """Toggles that the receiver took."""

    def add(self, at: float, sample: Sample) -> None:
        """One more sample."""
        self.times.append(at)
        for name, value in sample.items():
            self.series.setdefault(name, []).append(value)

    def removed(self) -> dict[str, int]:
        """How many of each kind were pruned in all."""
        kinds = {kind for pruning in self.prunings for kind in pruning.removed}
        return {kind: sum(pruning.removed[kind] for pruning in self.prunings) for kind in sorted(kinds)}


Chore = tuple[Callable[[], object], int]
"""What is done beside, and every how many simulated days."""


class Load(NamedTuple):
    """How long a soak takes, in seconds, how many days it simulates, and how many events a second it sends."""

    seconds: float
    days: int
    rate: float


def soak(place: Place, load: Load, more: Sequence[Chore], told: Told) -> Record:
    """Run a soak in a migrated database; return what was seen. Raises Failed when a program ends before its time."""
    toggles = Toggles()
    with place.server.connect(place.database, autocommit=True) as connection:
        begin_lake(connection, place)
        with receiving(place, load, toggles) as readers:
            calendar = Calendar(time.time() + load.seconds, load.seconds, load.days)
            record = Record(calendar.simulated(calendar.ends_at).isoformat(timespec="seconds"), *load)
            hasten(connection, calendar)
            chores: list[Chore] = [
                (partial(load_file, place, calendar), 1),
                (partial(pruned, place, calendar, record, told), 1),
                *more,
            ]
            with streaming(place, load, calendar) as writers, working(calendar, chores) as works:
                programs = readers | writers
                pids = {name: program.process.pid for name, program in programs.items() if name in ROLES.values()}
                sampler = Sampler(connection, place.server.pid() or 0, pids, calendar, toggles)
                watch(sampler, record, programs, works)
    record.delivered = toggles.delivered
    return record


def begin_lake(connection: psycopg.Connection[Any], place: Place) -> None:
    """Export an event, of a user whom nobody else is, so that there is a lake: without one nothing can be pruned."""
    connection.execute(FIRST)
    export(place)


def export(place: Place) -> None:
    """Export once."""
    said((*LAKE, "export", place.lake), place.environment("segment_lake"))


def pruned(place: Place, calendar: Calendar, record: Record, told: Told) -> None:
    """Prune, and say what went."""
    at = time.time()
    removed = prune(place, calendar)
    record.prunings.append(Pruning(at - calendar.began_at, time.time() - at, removed))
    went = ", ".join(f"{number:,} {kind}" for kind, number in removed.items())
    told(f"{at - calendar.began_at:5.0f} s, {calendar.day(at)}: removed {went}")


def program(place: Place, name: str, role: str, *command: str | Path, **streams: Any) -> AbstractContextManager[Background]:
    """A program in the background, in a role."""
    return background(command, place.environment(role), place.folder / f"{name}.log", **streams)


@contextmanager
def receiving(place: Place, load: Load, toggles: Toggles) -> Iterator[dict[str, Background]]:
    """The listener, with a receiver, and the lake's export, once they are ready; they end well with the block."""
    every = f"{1000 * min(EXPORTS, load.seconds / load.days / 4):.0f}ms"
    exporting = (*LAKE, "export", place.lake, "--every", every, "--linger", "0s")
    with Receiver(on_answer=toggles.answered) as receiver:
        listening = (*LISTENER, "run", "--slot", slot(place), "--url", receiver.url)
        with (
            program(place, "listener", "segment_listener", *listening) as listener,
            program(place, "lake export", "segment_lake", *exporting) as lake,
        ):
            await_that(lambda: listens(place, listener))
            yield {"listener": listener, "lake export": lake}


@contextmanager
def streaming(place: Place, load: Load, calendar: Calendar) -> Iterator[dict[str, Background]]:
    """The sender, and the loader that takes what it sends; when the block has ended all of it is loaded."""
    sending = (*SENDER, str(load.rate), *map(str, calendar))
    loading = (*LOADER, "stream", "--source", "soak", "--lanes", "2", "-")
    with (
        program(place, "sender", "", *sending, stdout=PIPE) as sender,
        sender.process.stdout as events,  # type: ignore[union-attr]
        program(place, "loader", "segment_loader", *loading, stdin=events) as loader,
    ):
        events.close()  # the loader has it
        yield {"loader": loader, "sender": sender}
        sender.wait()
        loader.wait()


def slot(place: Place) -> str:
    """The listener's slot, whose name is the server's own."""
    return f"soak_{place.database}"


def listens(place: Place, listener: Background) -> bool:
    """Whether the listener streams; raise Failed when it has failed."""
    listener.check()
    with place.server.connect(place.database, autocommit=True) as connection:
        return bool(connection.execute(ACTIVE, [slot(place)]).fetchall())


@contextmanager
def working(calendar: Calendar, chores: Sequence[Chore]) -> Iterator[list[Future[None]]]:
    """The chores, each in a thread of its own, until the block ends; raise what one has raised."""
    stopping = Event()
    with ThreadPoolExecutor(len(chores)) as pool:
        works = [pool.submit(daily, calendar, every, work, stopping) for work, every in chores]
        try:
            yield works
        finally:
            stopping.set()
    for work in works:
        work.result()


def watch(sampler: Sampler, record: Record, programs: Mapping[str, Background], works: Sequence[Future[None]]) -> None:
    """Take samples until the calendar ends; raise what a program or a chore has failed of."""
    calendar = sampler.calendar
    every = max(calendar.seconds / MOST, min(USUAL_WAIT, calendar.seconds / FEWEST))
    while (now := time.time()) < calendar.ends_at:
        make_days(sampler.connection, calendar, now)
        pruning = record.prunings[-1].took if record.prunings else None
        record.add(now - calendar.began_at, sampler.sample() | {"pruning": pruning})
        for program in programs.values():
            program.check_until(calendar.ends_at)
        for work in works:
            if work.done():
                work.result()
        time.sleep(max(0.0, now + every - time.time()))
