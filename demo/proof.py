"""Was every toggle received, and is what the tables say true? Asked beside the demo as it runs; nothing is kept in the database.

Toggles are read by the transactions that wrote them, those below the oldest one running, so that each is read once, however many
loaders there are. One that was received first waits for its row. Where every transaction that could have brought the row has been
read and it is not there, what was received is `unexpected`. One that was read waits for the webhook; when the listener has
delivered everything of then, and it has not come, it is `overdue`: a dead letter, or lost.
"""

from collections import OrderedDict
from collections.abc import Iterable
from itertools import takewhile
from typing import Any, Final, NamedTuple, cast

import psycopg

from demo.figures import Seldom
from demo.record import Arrival, Toggle

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
select event_id::text, user_id, occurred_at, vendor, segment_name, remove, batch_id
from segment_toggles where seq between %s and %s and batch_id = any (%s)
"""

READ = """
select count(*)
from segment_toggles t
join segment_batches b using (batch_id)
where (b.xact_id, b.batch_id) <= (%s::text::xid8, %s)
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
    """Toggles by what became of them.

    Read from the table and received; received once more; received, and not in the table; read, and not received though everything
    was delivered; read once, and no longer in the table.
    """

    matched: int = 0
    again: int = 0
    unexpected: int = 0
    overdue: int = 0
    gone: int = 0


class Mark(NamedTuple):
    """What had been received without a row when every transaction was below `xact`."""

    xact: int
    toggles: frozenset[Toggle]


class Waiting(NamedTuple):
    """A toggle's place in the order of reading, and when it was committed (Unix time)."""

    place: int
    committed_at: float


class Toggles:
    """Compares what is received with the table.

    `read_count` is how many were read; whoever learns that so many are delivered sets `delivered_count`.
    """

    def __init__(self) -> None:
        self.read_count = 0
        self.delivered_count = 0
        self._position = 0, 0
        self._waiting: dict[Toggle, Waiting] = {}
        self._early: dict[Toggle, float] = {}
        self._known: OrderedDict[Toggle, None] = OrderedDict()
        self._mark: Mark | None = None
        self._latencies: list[float] = []
        self._matched = self._again = self._unexpected = 0
        self._gone = Seldom(self._count_gone, 0)

    def receive(self, arrivals: Iterable[Arrival]) -> None:
        """Take toggles in the order in which they were accepted."""
        for toggle, at in arrivals:
            if waiting := self._waiting.pop(toggle, None):
                self._match(toggle, waiting.committed_at, at)
            elif toggle in self._known or toggle in self._early:
                self._again += 1
            else:
                self._early[toggle] = at

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
        self._gone.latest(connection)

    def standing(self, delivered_count: int) -> Standing:
        """How it stands, when so many are delivered of those that were read: as it was known before they were received."""
        overdue = sum(1 for _ in takewhile(lambda waiting: waiting.place <= delivered_count, self._waiting.values()))
        return Standing(self._matched, self._again, self._unexpected, overdue, self._gone.found)

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
        for *toggle, batch in connection.execute(TOGGLES, [min(firsts), max(lasts), list(ids)]).fetchall():
            self._expect(Toggle(*toggle), committed[batch])
        self._position = xacts[-1], ids[-1]

    def _expect(self, toggle: Toggle, committed_at: float) -> None:
        self.read_count += 1
        if (answered_at := self._early.pop(toggle, None)) is not None:
            self._match(toggle, committed_at, answered_at)
        else:
            self._waiting[toggle] = Waiting(self.read_count, committed_at)

    def _match(self, toggle: Toggle, committed_at: float, answered_at: float) -> None:
        self._matched += 1
        self._latencies.append(max(0.0, 1000 * (answered_at - committed_at)))
        self._known[toggle] = None
        if len(self._known) > KEPT_MATCHES:
            self._known.popitem(last=False)

    def _count_gone(self, connection: psycopg.Connection[Any]) -> int:
        """How many of those that were read are not there any more."""
        ((count,),) = connection.execute(READ, self._position).fetchall()
        return self.read_count - int(count)

    def _judge(self, xmin: int, xmax: int) -> None:
        """Everything below `xmin` has been read; what was received before the mark, when `xmax` was its xact, should be there."""
        if self._mark and xmin >= self._mark.xact:
            for toggle in self._mark.toggles & self._early.keys():
                del self._early[toggle]
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
