"""Was every toggle received, and is what the tables say true? Asked beside the demo as it runs; nothing is kept in the database.

Toggles are read by the transactions that wrote them, those below the oldest one running, so that each is read once, however many
loaders there are. One that was received first waits for its row. Where every transaction that could have brought the row has been
read and it is not there, what was received is `unexpected`.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final, NamedTuple, cast

import psycopg

from demo.record import Arrival, Identity

BATCHES_AT_ONCE: Final = 50
MOST_WAITING: Final = 100_000
"""Toggles of the table that wait for the webhook; while there are more, no others are read."""

KEPT_MATCHES: Final = 100_000
"""Latest toggles that are known when they come again: more than are in the call that a killed listener makes anew."""

SNAPSHOT = """
select pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint
"""

BATCHES = """
select
  xact_id::text::bigint, batch_id, first_seq, last_seq, extract(epoch from pg_xact_commit_timestamp(xact_id::xid))::float
from segment_batches
where (xact_id, batch_id) > (%s::text::xid8, %s) and xact_id < pg_snapshot_xmin(pg_current_snapshot())
order by xact_id, batch_id
limit %s
"""

TOGGLES = """
select event_id::text, user_id, occurred_at, batch_id from segment_toggles where seq between %s and %s and batch_id = any (%s)
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

    matched: int = 0
    again: int = 0
    unexpected: int = 0


class Mark(NamedTuple):
    """What had been received without a row when every transaction was below `xact`."""

    xact: int
    identities: frozenset[Identity]


class Toggles:
    """Compares what is received with the table."""

    def __init__(self) -> None:
        self._position = 0, 0
        self._waiting: dict[Identity, float] = {}
        self._early: dict[Identity, float] = {}
        self._known: OrderedDict[Identity, None] = OrderedDict()
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
                ((xmin, xmax),) = connection.execute(SNAPSHOT).fetchall()
                batches = connection.execute(BATCHES, [*self._position, BATCHES_AT_ONCE]).fetchall()
                self._find(connection, batches)
            more = len(batches) == BATCHES_AT_ONCE
            if not more:
                self._judge(xmin, xmax)

    def standing(self) -> Standing:
        """How it stands."""
        return Standing(self._matched, self._again, self._unexpected)

    def latencies(self) -> list[float]:
        """Milliseconds from commit to answer of the toggles that were matched since this was last asked, in order of size."""
        latencies, self._latencies = sorted(self._latencies), []
        return latencies

    def _find(self, connection: psycopg.Connection[Any], batches: list[tuple[Any, ...]]) -> None:
        """Take the toggles of batches."""
        if not batches:
            return
        xacts, ids, firsts, lasts, committed_at = zip(*batches, strict=True)
        committed = dict(zip(ids, committed_at, strict=True))
        for event, user, occurred_at, batch in connection.execute(TOGGLES, [min(firsts), max(lasts), list(ids)]).fetchall():
            self._expect(Identity(event, user, occurred_at), committed[batch])
        self._position = xacts[-1], ids[-1]

    def _expect(self, identity: Identity, committed_at: float) -> None:
        if (answered_at := self._early.pop(identity, None)) is not None:
            self._match(identity, committed_at, answered_at)
        else:
            self._waiting[identity] = committed_at

    def _match(self, identity: Identity, committed_at: float, answered_at: float) -> None:
        self._matched += 1
        self._latencies.append(max(0.0, 1000 * (answered_at - committed_at)))
        self._known[identity] = None
        if len(self._known) > KEPT_MATCHES:
            self._known.popitem(last=False)

    def _judge(self, xmin: int, xmax: int) -> None:
        """Everything below `xmin` has been read; what was received before the mark, when `xmax` was its xact, should be there."""
        if self._mark and xmin >= self._mark.xact:
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
