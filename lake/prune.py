"""Retention: what has had its time goes, the oldest day first, and only what is kept elsewhere or needed no more.

    horizon    moves up to the end of the day: events from before it are refused as expired from then on
    events     of the day, if every lake has them, and the files of the one that is named are whole
    outcomes   of the day, if its events are gone and every listener has delivered its toggles
    sources    files that were read to their end and whose events are gone, and rejects that are old

Each step is a function of the database's, which looks under its lock whether it may: whatever else runs, and wherever this one
ends, nothing goes that is needed. Run again it goes on with the first day that is left.
"""

import random
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from threading import Event

import psycopg
from psycopg import errors

from lake import ledger, mark
from lake.database import one
from lake.errors import Damaged, InTheWay, NotExported, StillInUse
from lake.layout import printable
from lake.ledger import Recorded
from lake.progress import Bar
from lake.store import Store
from lake.verify import faults
from loader.database import Connection, Session

HELD = "SG006"
"""The SQLSTATE of what is needed still."""

NOW = "select now(), first_day, horizon from segment_settings"
DAYS = "select day from segment_prunable_days(%s, %s) day"
# As a query of its own: else it would be asked once for each file, and it reads a whole day.
FILES = """
select path from lake_fragments
where destination = %s and written_at is not null and batches && (select segment_day_batches(%s))
"""
OLDER_HAS_EVENTS = "select not isempty(segment_day_batches(null))"

HOLDERS = """
select string_agg(format(
  'PostgreSQL''s process %s (%s)', a.pid, coalesce(nullif(a.application_name, ''), 'without a name')
), ' and ' order by a.pid)
from pg_stat_activity a
where a.pid <> pg_backend_pid() and a.pid in (
  select pid from pg_locks
  where granted and locktype = 'relation' and database = (select oid from pg_database where datname = current_database())
    and (
      relation in ('segment_events'::regclass, 'segment_outcomes'::regclass, 'segment_batches'::regclass)
      or relation in (
        select inhrelid from pg_inherits where inhparent in ('segment_events'::regclass, 'segment_outcomes'::regclass)
      )
    )
)
"""


class Stopped(Exception):  # noqa: N818 - raised within this module alone
    """Told to stop before the next day."""


@dataclass(frozen=True)
class Keep:
    """How long to keep, in seconds; `retry_for`: how long to wait for who uses what is to go."""

    events: float
    rejects: float | None
    retry_for: float


@dataclass
class Pruned:
    """What was removed, and what was not because it is needed: a sentence each."""

    days: int = 0
    events: int = 0
    outcome_days: int = 0
    outcomes: int = 0
    batches: int = 0
    sources: int = 0
    rejects: int = 0
    horizon: datetime | None = None
    kept: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """For people."""
        horizon = f"; events from before {self.horizon:%Y-%m-%dT%H:%M:%SZ} are refused as expired" if self.horizon else ""
        return (
            f"removed {self.events:,} events of {self.days:,} days, {self.outcomes:,} outcomes of {self.outcome_days:,} days, "
            f"{self.batches:,} batches, {self.sources:,} sources, {self.rejects:,} rejects{horizon}"
        )


class Prune:
    """Removes what is older than it is to be kept; `stopping`, once set, ends it after the day that is being removed."""

    def __init__(self, session: Session, store: Store, keep: Keep, stopping: Event, bar: Bar) -> None:
        self.session = session
        self.store = store
        self.keep = keep
        self.stopping = stopping
        self.bar = bar
        self.pruned = Pruned()
        self._files: dict[str, Recorded] = {}
        self._verified: set[str] = set()

    def run(self) -> Pruned:
        """Remove all that may go; raise Damaged or StillInUse where it cannot, with what is done staying done."""
        self.session.run(self._check_lake)
        now, first_day, self.pruned.horizon = self._ask(NOW)
        until = (now.astimezone(UTC) - timedelta(seconds=self.keep.events)).date()
        with suppress(Stopped):
            self._remove_events(first_day, until)
            self._remove_outcomes(until)
            (self.pruned.sources,) = self._ask("select segment_prune_sources()")
            if self.keep.rejects is not None:
                before = now - timedelta(seconds=self.keep.rejects)
                (self.pruned.rejects,) = self._ask("select segment_prune_rejects(%s)", before)
        *_, self.pruned.horizon = self._ask(NOW)
        return self.pruned

    def _check_lake(self, connection: Connection) -> None:
        if not mark.check(connection, self.store):
            raise NotExported
        self._files = {fragment.path: fragment for fragment in ledger.fragments(connection, self.store.name)}

    def _remove_events(self, first_day: date, until: date) -> None:
        for day in self._expiring(until):
            self._verify(day)
            ends = min(first_day, until) if day is None else day + timedelta(days=1)
            try:
                self._patiently("select segment_move_horizon(%s)", ends)
                (events,) = self._patiently("select segment_prune_events(%s)", day)
            except psycopg.DatabaseError as error:
                self._keeps("events", day, error)
                return
            self.pruned.days += day is not None
            self.pruned.events += events
            self._say("events", day, events)
        self._patiently("select segment_move_horizon(%s)", until)

    def _expiring(self, until: date) -> Iterator[date | None]:
        """The days whose events are to go; first of all None, for everything before the first one, where that has events."""
        if self._ask(OLDER_HAS_EVENTS)[0]:
            yield None
        yield from self._days("segment_events", until)

    def _remove_outcomes(self, until: date) -> None:
        for day in self._days("segment_outcomes", until):
            try:
                outcomes, batches = self._patiently("select * from segment_prune_outcomes(%s)", day)
            except psycopg.DatabaseError as error:
                self._keeps("outcomes", day, error)
                return
            if outcomes is None:
                return  # events of that day's are kept
            self.pruned.outcome_days += 1
            self.pruned.outcomes += outcomes
            self.pruned.batches += batches
            self._say("outcomes", day, outcomes)

    def _verify(self, day: date | None) -> None:
        """Raise Damaged unless the lake's files that have the day's events are as they were written."""
        paths = [path for (path,) in self.session.run(lambda c: c.execute(FILES, [self.store.name, day]).fetchall())]
        sizes = self.store.sizes() if set(paths) - self._verified else {}
        for path in map(str, paths):
            if path in self._verified:
                continue
            if path not in self._files:
                self.session.run(self._check_lake)
            for problem in faults(self.store, self._files[path], sizes.get(path), self.bar):
                raise Damaged(f"{printable(problem)}, so the events of {named(day)} stay. {Damaged()}")
            self._verified.add(path)

    def _days(self, parent: str, until: date) -> list[date]:
        return [day for (day,) in self.session.run(lambda c: c.execute(DAYS, [parent, until]).fetchall())]  # type: ignore[misc]

    def _ask(self, query: str, *values: object) -> tuple:  # type: ignore[type-arg]
        return self.session.run(lambda connection: one(connection, query, *values)) or ()

    def _patiently(self, query: str, *values: object) -> tuple:  # type: ignore[type-arg]
        """Ask again while others use what is to go: each attempt waits for them, and lets them wait, for a second at most."""
        ends_at = time.monotonic() + self.keep.retry_for
        while not self.stopping.is_set():
            try:
                return self._ask(query, *values)
            except errors.DependentObjectsStillExist as error:
                raise InTheWay(f"{InTheWay()} ({error.diag.message_detail})") from None
            except errors.LockNotAvailable:
                if time.monotonic() > ends_at:
                    (holders,) = self._ask(HOLDERS)
                    raise StillInUse(f"{StillInUse()} ({holders or 'It ended just now.'})") from None
                self.stopping.wait(random.uniform(0.2, 2))  # noqa: S311 - spreads, hides nothing
        raise Stopped

    def _keeps(self, what: str, day: date | None, error: psycopg.DatabaseError) -> None:
        if error.sqlstate != HELD:
            raise error
        self.pruned.kept.append(
            f"kept the {what} of {named(day)} and later: {error.diag.message_primary} {error.diag.message_hint}"
        )

    def _say(self, what: str, day: date | None, count: int) -> None:
        self.bar.say(f"removed the {what} of {named(day)}: {count:,}")


def named(day: date | None) -> str:
    """The day, for people."""
    return "before the first day" if day is None else f"{day}"
