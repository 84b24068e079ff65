"""The quarantine, tried again: what is a valid event now is loaded and leaves, in one transaction; the others stay as they are.

One transaction at a time, whoever runs it: each looks first which of its rejects are still there. So none is counted twice, and
killed anywhere it leaves every line either in quarantine or among the events.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from loader.copy import Added, add_halving
from loader.database import Connection, Session, ensure_partitions
from loader.event import Invalid, Limits, parse
from loader.rejects import Rejected, Selection, pages
from loader.rows import Rows
from loader.stream import Clock

LOCK = "select pg_advisory_xact_lock(hashtextextended('pgsegments rejects retry', 0))"

PRESENT = "select reject_id from segment_rejects where reject_id = any (%s)"

# A source's counts run since it was first seen or replaced: an older reject was not among them.
COUNT = """
update segment_sources s
set
  loaded = loaded + %s, duplicates = duplicates + %s, suppressed = suppressed + %s, updated_at = now(),
  rejected = rejected - (select count(*) from segment_rejects where reject_id = any (%s) and rejected_at >= s.first_seen_at)
where source = %s
"""

LEAVE = "delete from segment_rejects where reject_id = any (%s)"


@dataclass
class Stays:
    """How many rejects stay for the same reason as this one."""

    number: int
    reason: str
    count: int = 0


@dataclass
class Result:
    """What became of the rejects so far."""

    loaded: int = 0
    duplicates: int = 0
    stay: dict[str, Stays] = field(default_factory=dict)
    """By the code that they have now."""

    def lines(self) -> list[str]:
        """The result for people."""
        staying = sum(stays.count for stays in self.stay.values())
        reasons = [f"{code}: {stays.count:,}, first {stays.number}: {stays.reason}" for code, stays in self.stay.items()]
        return [f"{self.loaded:,} loaded, {self.duplicates:,} duplicates, {staying:,} stay", *reasons]

    def stays(self, number: int, code: str, reason: str) -> None:
        """Count a reject that stays."""
        self.stay.setdefault(code, Stays(number, reason)).count += 1


def retry(session: Session, selection: Selection, max_future: timedelta, result: Result) -> None:
    """Load the selected rejects that are valid events now, source by source; the result grows with each commit."""
    clock = Clock(session, max_future)
    for page in pages(session, selection):
        for source, rows in judge(page, clock.limits(), result).items():
            session.run(partial(ensure_partitions, days=rows.days))
            added, duplicates = session.run(partial(release, source=source, rows=rows))
            result.loaded += added.new
            result.duplicates += duplicates
            for reject in added.refused:
                result.stays(reject.position, reject.code, reject.reason)


def judge(page: Sequence[Rejected], limits: Limits, result: Result) -> dict[str, Rows]:
    """The rows of each source, with the reject's number for a position; what is no valid event is counted."""
    found: dict[str, Rows] = {}
    for reject in page:
        if reject.sha256:
            kept = f"only the first {len(reject.bytes):,} of its {reject.length:,} bytes are kept, too few to try again"
            result.stays(reject.number, reject.code, f"{kept}: load it from its source with a larger --max-line")
            continue
        try:
            found.setdefault(reject.source, Rows()).append(parse(reject.bytes, reject.number, limits))
        except Invalid as invalid:
            result.stays(reject.number, invalid.code, invalid.reason)
    return found


def release(connection: Connection, source: str, rows: Rows) -> tuple[Added, int]:
    """Add the rows whose rejects are still there and take these away; return what was added and how many were duplicates."""
    with connection.transaction():
        connection.execute(LOCK)
        present = {number for (number,) in connection.execute(PRESENT, [list(rows.positions)])}
        rows = rows.only([number in present for number in rows.positions])
        added = add_halving(connection, rows)
        staying = {reject.position for reject in added.refused}
        leaving = [number for number in rows.positions if number not in staying]
        duplicates = len(leaving) - added.new - added.suppressed
        connection.execute(COUNT, [added.new, duplicates, added.suppressed, leaving, source])
        connection.execute(LEAVE, [leaving])
    return added, duplicates
