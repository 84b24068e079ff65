"""One batch, one transaction: rows by COPY, rejects, counts and positions commit together or not at all.

Rows go in order of user, which keeps each key's order and visits the server's indexes in theirs. The fast way COPYs straight into
segment_events. Where that meets an event that is there already, the batch goes by a temporary table instead, as do the following
ones until one is clean again. A row that the server refuses is found by halving and becomes a reject. Nothing here retries: a
transaction that fails leaves the batch as it was.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

import psycopg
from psycopg import errors

from loader.database import Collision, Connection
from loader.event import Reject, Row
from loader.rows import Rows
from loader.subject import users

COLUMNS = "user_id, occurred_at, event_id, vendor, segment_name, value, remove, extra"

INCOMING = """
create temporary table if not exists segment_incoming (
  ordinal integer, user_id text collate "C", occurred_at timestamptz, event_id uuid,
  vendor integer, segment_name text collate "C", value text collate "C", remove boolean, extra jsonb
)
"""

HORIZON = "(select coalesce(horizon, '-infinity') from segment_settings)"

NEW = f"""
insert into segment_events ({COLUMNS})
select {COLUMNS} from pg_temp.segment_incoming where occurred_at >= {HORIZON} order by ordinal
on conflict (user_id, occurred_at, event_id) do nothing
"""  # noqa: S608 - constants

SUPPRESSED = """
delete from pg_temp.segment_incoming
where user_id = any ((select segment_suppressed(array(select distinct user_id from pg_temp.segment_incoming)))::text[])
"""

ERASED = "SG009"
"""The SQLSTATE of a batch with events of a user who has been erased."""

EXPIRED = """
select ordinal, 'The timestamp is older than the horizon, ' || to_char(horizon, 'YYYY-MM-DD"T"HH24:MI:SS+00:00') || '.'
from pg_temp.segment_incoming join segment_settings on occurred_at < horizon
"""
"""The horizon has moved since the loader had asked for it."""

# LIMIT keeps the planner from anything but one look at the key per row: it has no statistics of the temporary table.
CONFLICTS = """
select i.ordinal
from pg_temp.segment_incoming i
cross join lateral (
  select vendor, segment_name, value, remove, extra
  from segment_events
  where user_id = i.user_id and occurred_at = i.occurred_at and event_id = i.event_id
  limit 1
) e
where (e.vendor, e.segment_name, e.remove) <> (i.vendor, i.segment_name, i.remove)
  or e.value is distinct from i.value
  or coalesce(e.extra, '{}') <> coalesce(i.extra, '{}')
order by i.ordinal
"""

AT_A_TIME = 500
"""How many rows are sent at a time."""

REJECT = """
insert into segment_rejects (source, position, bytes, length, sha256, code, reason) values (%s, %s, %s, %s, %s, %s, %s)
"""


class Counts(NamedTuple):
    """What became of a batch's lines."""

    loaded: int = 0
    duplicates: int = 0
    rejected: int = 0
    suppressed: int = 0
    """Of users who have been erased: nothing of them is kept."""

    def plus(self, other: "Counts") -> "Counts":
        """The sum of both."""
        return Counts(*map(sum, zip(self, other, strict=True)))


class Added(NamedTuple):
    """What became of rows: how many were new, which are rejects after all, and how many are of users who have been erased."""

    new: int
    refused: list[Reject]
    suppressed: int = 0


class MissingPartition(Exception):  # noqa: N818 - raised to be tried again, never shown
    """A day that the batch needs has no partition (any more), or is expired."""


Adder = Callable[[Connection, Rows], Added]


def add_fast(connection: Connection, rows: Rows) -> Added:
    """COPY into segment_events; raise UniqueViolation when one of the events is there already."""
    with connection.cursor() as cursor, cursor.copy(f"copy segment_events ({COLUMNS}) from stdin") as copy:
        write(copy, rows.copies, rows.order())
    return Added(len(rows), [])


def write(copy: psycopg.Copy, lines: Sequence[bytes], order: Sequence[int]) -> None:
    """Send lines in an order, some at a time: all of them at once would be there twice more."""
    for start in range(0, len(order), AT_A_TIME):
        copy.write(b"".join([lines[index] for index in order[start : start + AT_A_TIME]]))


def add_carefully(connection: Connection, rows: Rows) -> Added:
    """Add what is not there yet; what is there with other content is refused as a conflict."""
    rows = rows.sorted()
    connection.execute(INCOMING)
    connection.execute("truncate pg_temp.segment_incoming")
    with connection.cursor() as cursor, cursor.copy("copy pg_temp.segment_incoming from stdin") as copy:
        write(copy, [b"%d\t%b" % numbered for numbered in enumerate(rows.copies)], range(len(rows)))
    suppressed = connection.execute(SUPPRESSED).rowcount
    new = add_incoming(connection)
    if new + suppressed == len(rows):
        return Added(new, [], suppressed)
    reason = "The same event, user and timestamp came before with other content."
    conflicts = [rejected(rows[int(str(ordinal))], "conflict", reason) for (ordinal,) in connection.execute(CONFLICTS)]
    expired = [rejected(rows[int(str(ordinal))], "expired", str(reason)) for ordinal, reason in connection.execute(EXPIRED)]
    return Added(new, [*conflicts, *expired], suppressed)


def add_incoming(connection: Connection) -> int:
    """Add what is new of the temporary table; raise Collision where a user of it has just been erased."""
    try:
        return connection.execute(NEW).rowcount
    except psycopg.DatabaseError as error:
        if error.sqlstate == ERASED:
            raise Collision from error
        raise


def add_halving(connection: Connection, rows: Rows) -> Added:
    """Add what the server takes; each row that it refuses becomes a reject with the server's reason.

    The rows are sorted by user: one statement after the other then takes the keys in the order in which every batch does, so that
    loaders that share users do not deadlock.
    """
    try:
        with connection.transaction():
            return add_carefully(connection, rows)
    except psycopg.Error as error:
        if not refuses_row(error):
            raise
        if len(rows) == 1:
            reason = f"PostgreSQL refuses it: {error.diag.message_primary}."
            return Added(0, [rejected(rows[0], "refused", reason)])
    half = middle(rows.users)
    first, second = (add_halving(connection, part) for part in (rows.part(0, half), rows.part(half, len(rows))))
    return Added(first.new + second.new, first.refused + second.refused, first.suppressed + second.suppressed)


def middle(users: Sequence[bytes]) -> int:
    """Where to halve rows that are sorted by user: between two users, unless it is one user's rows alone."""
    half = len(users) // 2
    begins, ends = bisect_left(users, users[half]), bisect_right(users, users[half])
    return begins or (ends if ends < len(users) else half)


def refuses_row(error: psycopg.Error) -> bool:
    """Whether the fault lies with a row: data exceptions, constraints, program limits, but not the reducer's own."""
    return (
        (error.sqlstate or "").startswith(("22", "23", "54"))
        and not isinstance(error, errors.UniqueViolation)
        and not lacks_partition(error)
        and not in_trigger(error)
    )


def in_trigger(error: psycopg.Error) -> bool:
    """Whether the reducer failed: the last line of the context names the outermost place, and no data of ours begins it."""
    outermost = (error.diag.context or "").rpartition("\n")[2]
    return bool(outermost) and not outermost.startswith("COPY ")


def meets_known(error: psycopg.Error) -> bool:
    """Whether an event is there already, or is of a user who has been erased: then the batch is to be looked at."""
    return error.sqlstate == ERASED or (isinstance(error, errors.UniqueViolation) and not in_trigger(error))


def lacks_partition(error: psycopg.Error) -> bool:
    """Whether a partition is missing: of outcomes (SG002), or of events (a check without a name), or takes nothing expired."""
    unnamed = error.sqlstate == "23514" and error.diag.constraint_name in (None, "segment_events_expired")
    return error.sqlstate == "SG002" or unnamed


class Copier:
    """Writes the batches of one connection, remembering whether the stream has duplicates just now."""

    def __init__(self) -> None:
        self.careful = False

    def write(self, connection: Connection, source: str, rows: Rows, rejects: list[Reject]) -> Counts:
        """Add rows and rejects within the caller's transaction."""
        added = self._add(connection, rows) if rows else Added(0, [])
        bad = without_suppressed(connection, [*rejects, *added.refused])
        for reject in bad:  # not executemany: its pipeline leaves a connection that is lost within it in no usable state
            connection.execute(REJECT, reject_values(source, reject))
        duplicates = len(rows) - added.new - len(added.refused) - added.suppressed
        suppressed = added.suppressed + len(rejects) + len(added.refused) - len(bad)
        return Counts(added.new, duplicates, len(bad), suppressed)

    def _add(self, connection: Connection, rows: Rows) -> Added:
        try:
            return self._add_by(connection, rows, add_carefully if self.careful else add_fast)
        except psycopg.Error as error:
            if lacks_partition(error):
                self.careful = True  # for that finds what is expired
                raise MissingPartition from error
            raise

    def _add_by(self, connection: Connection, rows: Rows, add: Adder) -> Added:
        try:
            with connection.transaction():
                added = add(connection, rows)
        except psycopg.Error as error:
            if meets_known(error) and not self.careful:
                self.careful = True
                return self._add_by(connection, rows, add_carefully)
            if not refuses_row(error):
                raise
            return add_halving(connection, rows.sorted())
        self.careful = added.new + len(added.refused) < len(rows)
        return added


def without_suppressed(connection: Connection, rejects: list[Reject]) -> list[Reject]:
    """The rejects but for those that name a user who has been erased: of them nothing is kept."""
    named = [users(reject.bytes) for reject in rejects]
    if not any(named):
        return rejects
    (erased,) = connection.execute("select segment_suppressed(%s)", [sorted(set().union(*named))]).fetchone() or ([],)
    return [reject for reject, names in zip(rejects, named, strict=True) if names.isdisjoint(erased)]  # type: ignore[arg-type]


def rejected(row: Row, code: str, reason: str) -> Reject:
    """The reject that a row becomes when the server will not have it."""
    return Reject(row.position, row.bucket, row.line, len(row.line), None, code, reason)


def reject_values(source: str, reject: Reject) -> tuple[object, ...]:
    """A reject as segment_rejects has it."""
    return source, reject.position, reject.bytes, reject.length, reject.sha256, reject.code, reject.reason
