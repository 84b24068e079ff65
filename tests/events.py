"""Events for tests: made, written as NDJSON or COPY rows, and read back from the tables."""

import json
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from demo.fold import Event, Fold, Outcome
from tests.conftest import Database, Row

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)

COPY = "copy segment_events (user_id, occurred_at, event_id, vendor, segment_name, value, remove) from stdin"

MEMBERSHIPS = """
select user_id, vendor, segment_name, member, first, last, value, changed, events from segment_memberships order by 1, 2, 3
"""

OUTCOMES = """
select event_id::text, outcome, previous_event_id::text, previous_occurred_at, previous_value
from segment_event_outcomes order by seq
"""


MISCOUNTED = """
select batch_id, e.events, b.events
from (select batch_id, count(*) as events from segment_events group by 1) e
full join segment_batches b using (batch_id)
where e.events is distinct from b.events
"""


def document(event: Event) -> str:
    """The event as a line of NDJSON, without the line end."""
    fields: dict[str, object] = {
        "event": event.event_id,
        "timestamp": event.occurred_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "user": event.user_id,
        "segment": {"vendor": event.vendor, "name": event.segment_name},
    }
    if event.value is not None:
        fields["value"] = event.value
    if event.remove:
        fields["remove"] = True
    return json.dumps(fields)


def ndjson(events: Iterable[Event]) -> str:
    """The events as NDJSON."""
    return "".join(document(event) + "\n" for event in events)


def make(
    number: int, user: str = "u", segment: str = "s", *, seconds: float = 0, value: str | None = None, remove: bool = False
) -> Event:
    """An event of vendor 1 today, `seconds` after midnight UTC; `number` makes its id."""
    return Event(str(uuid.UUID(int=number)), TODAY + timedelta(seconds=seconds), user, 1, segment, value, remove)


def values(event: Event) -> Row:
    """The event as a row for COPY."""
    return (event.user_id, event.occurred_at, event.event_id, event.vendor, event.segment_name, event.value, event.remove)


def recorded(event: Event, outcome: Outcome) -> Row:
    """The row of OUTCOMES that an outcome should have; of a repeat the tables keep no predecessor."""
    previous = outcome.previous if outcome.outcome != "repeat" else None
    before = (previous.event_id, previous.occurred_at, previous.value) if previous else (None, None, None)
    return event.event_id, outcome.outcome, *before


def fold(events: Iterable[Event]) -> tuple[list[Row], list[Row]]:
    """What MEMBERSHIPS and OUTCOMES should give for events in order of arrival."""
    state = Fold()
    outcomes = [recorded(event, state.add(event)) for event in events]
    return list(state.rows()), outcomes


def arrived(database: Database) -> list[Event]:
    """The events in the order that the tables recorded."""
    rows = database.fetch("""
        select event_id::text, occurred_at, user_id, vendor, segment_name, value, remove
        from segment_events join segment_batches using (batch_id) order by arrival, seq
    """)
    return [Event(*row) for row in rows]  # type: ignore[arg-type]


def check_against_fold(database: Database) -> None:
    """Assert that the state and every outcome are those of the recorded events, one at a time, and that batches count theirs."""
    events = arrived(database)
    memberships, outcomes = fold(events)
    assert database.fetch(MEMBERSHIPS) == memberships
    assert sorted(database.fetch(OUTCOMES), key=str) == sorted(outcomes, key=str)
    assert database.fetch(MISCOUNTED) == []
