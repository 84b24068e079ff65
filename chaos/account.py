"""The account of a run: nothing lost, nothing doubled that no fault explains, everything where the events lead to.

Each check is a query over what `evidence` has brought together that finds what is wrong, row by row; or the independent fold of
all events in order of arrival, one at a time. A finding is a sentence with how many and the first of them.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final, LiteralString, NamedTuple

import psycopg
from psycopg import sql

from demo.fold import Event, Fold

SENT_ALONE: Final = "select * from chaos.sent except select * from chaos.recorded"
RECORDED_ALONE: Final = """
select event_id, occurred_at, user_id from chaos.toggles except select event_id, occurred_at, user_id from chaos.acceptances"""
ARRIVED_ALONE: Final = "select * from chaos.arrived except all select * from chaos.lake"

CHECKS: Final[dict[str, LiteralString]] = {
    "events of the sources are not in segment_events as they were sent": SENT_ALONE,
    "events are in segment_events that no source has": """
select * from chaos.recorded except select * from chaos.sent""",
    "lines that are no event are not in quarantine once, by a right code": """
select l.source, l.position, l.codes, array_agg(r.code)
from chaos.lines l left join segment_rejects r using (source, position)
where l.codes is not null
group by 1, 2, 3 having count(r.code) <> 1 or max(r.code) <> all (l.codes)""",
    "rejects are explained by no line": """
select r.source, r.position, r.code, r.reason
from segment_rejects r left join chaos.lines l on (l.source, l.position) = (r.source, r.position) and l.codes is not null
where l.source is null""",
    # What a pipe is sent again counts as duplicates, and so do events whose commit was unclear.
    "sources do not count each line once": """
with counted as (
  select source, exact, count(*) filter (where codes is not null) as rejected,
    count(distinct (event_id, occurred_at, user_id)) filter (where codes is null) as loaded,
    count(*) filter (where codes is null) as events
  from chaos.lines group by 1, 2
)

select source, c.loaded, s.loaded, c.events - c.loaded, s.duplicates, c.rejected, s.rejected
from counted c full join segment_sources s using (source)
where c.rejected is distinct from s.rejected or case
    when exact then (c.loaded, c.events - c.loaded) is distinct from (s.loaded, s.duplicates)
    else s.loaded > c.loaded or s.loaded + s.duplicates < c.events
  end""",
    "batches do not count their events": """
select batch_id, e.events, b.events
from (select batch_id, count(*) as events from segment_events group by 1) e full join segment_batches b using (batch_id)
where e.events is distinct from b.events""",
    "events of a user arrived otherwise than they stand in their source": """
select * from (
  select source, user_id, position, arrival, seq,
    row_number() over (partition by source, user_id order by position) as stands,
    row_number() over (partition by source, user_id order by arrival, seq) as arrived
  from chaos.events join chaos.arrived using (event_id, occurred_at, user_id)
) both_orders where stands <> arrived""",
    "toggles are lost: they were recorded, and never received": RECORDED_ALONE,
    "documents were received that are no toggles": """
select event_id, occurred_at, user_id from chaos.acceptances except select event_id, occurred_at, user_id from chaos.toggles""",
    "documents do not say what was recorded": """
select a.* from chaos.acceptances a join chaos.toggles t using (event_id, occurred_at, user_id)
where (a.vendor, a.segment_name, a.value, a.remove, a.previous_event_id, a.previous_occurred_at, a.previous_value)
    is distinct from (t.vendor, t.segment_name, t.value, t.remove, t.previous_event_id, t.previous_occurred_at, t.previous_value)
  or (a.previous_user_id, a.previous_vendor, a.previous_segment_name, a.previous_remove)
    is distinct from (a.user_id, a.vendor, a.segment_name, not a.remove)""",
    "documents came before an earlier one of their key": """
select * from (
  select a.number, event_id, occurred_at, user_id, t.rank,
    max(t.rank) over (partition by user_id, t.vendor, t.segment_name order by a.number, a.place) as furthest
  from chaos.acceptances a join chaos.toggles t using (event_id, occurred_at, user_id)
  where a.nth = 1 and not a.replay
) ordered where rank < furthest""",
    "documents came twice, and no fault explains it": """
select * from chaos.again where explanation is null""",
    "documents were set aside, and nobody had refused them": """
select a.event_id, a.occurred_at, a.user_id, a.received_at
from chaos.acceptances a
where a.replay and not exists (
    select from chaos.refusals r
    where (r.event_id, r.occurred_at, r.user_id) = (a.event_id, a.occurred_at, a.user_id) and r.refused_at <= a.received_at
  )""",
    "dead letters are left": """
select id, status, answer from webhook_dead_letters""",
    "events of the table are not in the lake as they are there": ARRIVED_ALONE,
    "events are in the lake that the table does not have": """
select * from chaos.lake except all select * from chaos.arrived""",
}

ARRIVED: Final = """
select e.event_id::text, e.occurred_at, e.user_id, e.vendor, e.segment_name, e.value, e.remove,
  e.outcome, e.previous_event_id::text, e.previous_occurred_at, e.previous_value
from segment_event_outcomes e join segment_batches b using (batch_id)
order by b.arrival, e.seq
"""

MEMBERSHIPS: Final = """
select user_id, vendor, segment_name, member, first, last, value, changed, events from segment_memberships order by 1, 2, 3
"""

FIGURES: Final = {
    "events": "select count(*) from segment_events",
    "late": "select count(*) from segment_outcomes where outcome = 'late'",
    "duplicate lines": "select sum(duplicates)::bigint from segment_sources",
    "memberships": "select count(*) from segment_memberships",
    "toggles": "select count(*) from chaos.toggles",
    "toggles received": """
select count(*) from chaos.toggles join chaos.acceptances using (event_id, user_id, occurred_at) where nth = 1""",
    "set aside, and posted again": "select count(*) from chaos.acceptances where replay",
    "events in the lake": "select count(*) from chaos.lake",
}

LOST: Final = {
    "events": f"select count(*) from ({SENT_ALONE}) lost",  # noqa: S608 - constants
    "toggles": f"select count(*) from ({RECORDED_ALONE}) lost",  # noqa: S608
    "lines of the lake": f"select count(*) from ({ARRIVED_ALONE}) lost",  # noqa: S608
}

DUPLICATES: Final = "select coalesce(explanation, 'nothing'), count(*) from chaos.again group by 1 order by 2 desc"
REJECTS: Final = "select code, count(*) from segment_rejects group by 1 order by 2 desc"


class Figures(NamedTuple):
    """What was counted, what was lost, duplicates by what explains them, and rejects by code."""

    counts: dict[str, int]
    lost: dict[str, int]
    duplicates: dict[str, int]
    rejects: dict[str, int]


def findings(connection: psycopg.Connection[Any]) -> list[str]:
    """A sentence for whatever is wrong; the evidence is there."""
    found = [sentence for what, query in CHECKS.items() if (sentence := check(connection, what, query))]
    return found + list(unlike_the_fold(connection))


def figures(connection: psycopg.Connection[Any]) -> Figures:
    """What there was."""
    counts, lost = (
        {name: connection.execute(query.encode()).fetchone()[0] for name, query in queries.items()}  # type: ignore[index]
        for queries in (FIGURES, LOST)
    )
    duplicates, rejects = (dict(connection.execute(query.encode()).fetchall()) for query in (DUPLICATES, REJECTS))
    return Figures(counts, lost, duplicates, rejects)


def check(connection: psycopg.Connection[Any], what: str, query: LiteralString) -> str | None:
    """A sentence, unless the query finds nothing."""
    first = sql.SQL("select *, count(*) over () from ({}) wrong limit 1").format(sql.SQL(query))
    row = connection.execute(first).fetchone()
    return f"{row[-1]:,} {what}; one is {', '.join(map(str, row[:-1]))}." if row else None


def unlike_the_fold(connection: psycopg.Connection[Any]) -> Iterator[str]:
    """Fold every event in order of arrival, and yield what the tables have otherwise."""
    fold = Fold()
    wrong = [row for row in rows(connection, ARRIVED) if judged(fold, Event(*row[:7])) != row[7:]]
    if wrong:
        yield f"{len(wrong):,} outcomes are not what the fold says; one is {wrong[0]}."
    different = set(rows(connection, MEMBERSHIPS)) ^ set(fold.rows())
    if different:
        yield f"{len(different):,} memberships are in the tables or the fold alone; one is {next(iter(different))}."


def judged(fold: Fold, event: Event) -> tuple[object, ...]:
    """The outcome as ARRIVED has it; of a repeat the tables keep no predecessor."""
    outcome = fold.add(event)
    previous = outcome.previous if outcome.outcome != "repeat" else None
    return (outcome.outcome, *((previous.event_id, previous.occurred_at, previous.value) if previous else (None, None, None)))


def rows(connection: psycopg.Connection[Any], query: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a query, some at a time."""
    with connection.transaction(), closing(connection.cursor("chaos_rows")) as cursor:
        cursor.execute(query.encode())
        yield from cursor
