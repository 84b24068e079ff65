"""Was every toggle received, and is what the tables say true? Asked beside the demo as it runs; nothing is kept in the database.

Toggles are read by the transactions that wrote them, those below the oldest one running, so that each is read once, however many
loaders there are. One that was received first waits for its row. Where every transaction that could have brought the row has been
read and it is not there, what was received is `unexpected`.
"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, cast

import psycopg

from demo.record import Arrival, Identity

BATCHES_AT_ONCE: Final = 50
MOST_WAITING: Final = 100_000
"""Toggles of the table that wait for the webhook; while there are more, no others are read."""

KEPT_MATCHES: Final = 100_000
"""Latest toggles that are known when they come again: more than are in the call that a killed listener makes anew."""

NEXT = """
select
  coalesce(max(xact_id)::text::bigint + 1, 0), count(*),
  pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint
from (
  select xact_id from segment_batches
  where xact_id >= %s::text::xid8 and xact_id < pg_snapshot_xmin(pg_current_snapshot())
  order by xact_id, batch_id limit %s
) batches
"""

TOGGLES = """
select t.event_id::text, t.user_id, t.occurred_at, extract(epoch from pg_xact_commit_timestamp(b.xact_id::xid))::float
from segment_batches b
join segment_toggles t on t.batch_id = b.batch_id and t.seq between b.first_seq and b.last_seq
where b.xact_id >= %s::text::xid8 and b.xact_id < %s::text::xid8
"""

LAST_SEQ = "select coalesce(max(seq), 0) from segment_outcomes"

KEYS = """
with keys as materialized (
  select user_id, vendor, segment_name from segment_outcomes where seq > %s - 200
  group by user_id, vendor, segment_name limit 20
)

select
  count(*),
  count(*) filter (
    where (m.member, m.first, m.last, m.value, m.changed, m.events)
      is not distinct from (f.member, f.first, f.last, f.value, f.changed, f.events)
  )
from keys
left join segment_memberships m using (user_id, vendor, segment_name)
left join (
  select * from segment_fold where user_id = any (array(select user_id from keys)) and events = of_key
) f using (user_id, vendor, segment_name)
"""
"""Of the keys that were judged last, how many have the membership that the fold of all their events, made anew, says."""


class Standing(NamedTuple):
    """Toggles that are in the table and were received; such as were received once more; such as the table does not have."""

    matched: int
    again: int
    unexpected: int


class Mark(NamedTuple):
    """What had been received without a row when every transaction was below `xact`."""

    xact: int
    identities: frozenset[Identity]


class Toggles:
    """Compares what is received with the table."""

    def __init__(self) -> None:
        self._next_xact = 0
        self._waiting: dict[Identity, float] = {}
        self._early: dict[Identity, float] = {}
        self._known: dict[Identity, None] = {}
        self._mark: Mark | None = None
        self._latencies: list[float] = []
        self._matched = self._again = self._unexpected = 0

    def receive(self, arrivals: Iterable[Arrival]) -> None:
        """Take documents in the order in which they were accepted."""
        for identity, at in arrivals:
            if (committed_at := self._waiting.pop(identity, None)) is not None:
                self._match(identity, committed_at, at)
            elif identity in self._known or identity in self._early:
                self._again += 1
            else:
                self._early[identity] = at

    def read(self, connection: psycopg.Connection[Any]) -> None:
        """Read toggles that were committed since, and judge what has had time enough to be found."""
        more = True
        while more and len(self._waiting) < MOST_WAITING:
            with connection.transaction():
                connection.execute("set transaction isolation level repeatable read read only")
                ((after_last, count, xmin, xmax),) = connection.execute(NEXT, [self._next_xact, BATCHES_AT_ONCE]).fetchall()
                more = count == BATCHES_AT_ONCE
                end = after_last if more else xmin
                rows = connection.execute(TOGGLES, [self._next_xact, end]).fetchall() if count else []
            for event, user, occurred_at, committed_at in rows:
                self._find(Identity(event, user, occurred_at), committed_at)
            self._next_xact = end
        self._judge(xmax)

    def standing(self) -> Standing:
        """How it stands."""
        return Standing(self._matched, self._again, self._unexpected)

    def latencies(self) -> list[float]:
        """Milliseconds from commit to answer of the toggles that were matched since this was last asked, in order of size."""
        latencies, self._latencies = sorted(self._latencies), []
        return latencies

    def _find(self, identity: Identity, committed_at: float) -> None:
        if (answered_at := self._early.pop(identity, None)) is not None:
            self._match(identity, committed_at, answered_at)
        else:
            self._waiting[identity] = committed_at

    def _match(self, identity: Identity, committed_at: float, answered_at: float) -> None:
        self._matched += 1
        self._latencies.append(max(0.0, 1000 * (answered_at - committed_at)))
        self._known[identity] = None
        if len(self._known) > KEPT_MATCHES:
            del self._known[next(iter(self._known))]

    def _judge(self, xmax: int) -> None:
        """What was there at the mark has been looked for in every transaction of then."""
        if self._mark and self._next_xact >= self._mark.xact:
            for identity in self._mark.identities & self._early.keys():
                del self._early[identity]
                self._unexpected += 1
            self._mark = None
        if self._mark is None and self._early:
            self._mark = Mark(xmax, frozenset(self._early))


def sample(connection: psycopg.Connection[Any]) -> tuple[int, int]:
    """Of the keys that were judged last how many there are, 20 at most, and how many equal their fold."""
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read read only")
        ((last_seq,),) = connection.execute(LAST_SEQ).fetchall()
        (found,) = connection.execute(KEYS, [last_seq]).fetchall()
    return cast(tuple[int, int], found)
