"""What each of dbt's models holds, against the fold in plain Python, after several loads by two lanes."""

import json
from collections import Counter, defaultdict
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

from demo.fold import Event, Fold
from tests.conftest import Database, Row
from tests.events import MEMBERSHIPS, TODAY, arrived
from tests.loading import ends, newest

Key = tuple[str, int, str]

MEMBER_AT = """
select user_id, vendor, segment_name from user_segment_history
where valid_from <= %(at)s and (valid_to > %(at)s or valid_to is null) order by 1, 2, 3
"""


def stamp(at: datetime) -> str:
    """As the contract writes timestamps."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def profiles(database: Database) -> dict[str, list[dict[str, Any]]]:
    """Each user's segments, sorted, in the fields' order."""
    fold = Fold()
    for event in arrived(database):
        fold.add(event)
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for (user, vendor, name), state in sorted(fold.memberships.items(), key=lambda item: (item[0][2], item[0][1])):
        fields = {
            "segment": {"vendor": vendor, "name": name},
            "first": state.first and stamp(state.first),
            "last": stamp(state.last),
            "member": state.member,
            "value": state.value,
        }
        found[user].append({name: value for name, value in fields.items() if value is not None})
    return found


def judged(database: Database) -> list[tuple[Event, str, Event | None]]:
    """Every event in order of arrival, what it did, and what came before it."""
    fold = Fold()
    return [(event, *fold.add(event)) for event in arrived(database)]


@ends
def test_profiles(built: Database) -> None:
    """Whatever the session's zone and style."""
    with built.connect("segment_reader", options="-c timezone=Asia/Kathmandu -c datestyle=SQL,DMY") as connection:
        rows = connection.execute(
            "select user_id, segments::text, active_segments, active_count, segment_count from segment_profiles order by 1"
        ).fetchall()
    expected = profiles(built)
    assert [row[0] for row in rows] == sorted(expected)
    for user, segments, active, active_count, count in rows:
        wanted = expected[str(user)]
        assert [json.dumps(segment) for segment in json.loads(str(segments))] == [json.dumps(segment) for segment in wanted]
        assert active == [segment["segment"]["name"] for segment in wanted if segment["member"]]
        assert (active_count, count) == (len(active), len(wanted))  # type: ignore[arg-type]


@ends
def test_a_profile_shows_a_membership_in_its_own_transaction(built: Database) -> None:
    with built.connect() as connection:
        connection.execute(
            "insert into segment_events (user_id, occurred_at, event_id, vendor, segment_name)"
            " values ('new', '2021-01-16T12:34:56Z', gen_random_uuid(), 42, 'planes')"
        )
        found = connection.execute("select segments, active_segments from segment_profiles where user_id = 'new'").fetchall()
    at = "2021-01-16T12:34:56Z"
    assert found == [
        ([{"segment": {"vendor": 42, "name": "planes"}, "first": at, "last": at, "member": True}], ["planes"]),
    ]


@ends
def test_a_profile_is_read_along_the_primary_key(built: Database) -> None:
    built.execute("""
        insert into segment_memberships (user_id, vendor, segment_name, member, last, changed, events, newest_event_id)
        select 'usr-' || n % 20000, 1 + n % 7, 'seg-' || n, true, now(), true, 1, gen_random_uuid()
        from generate_series(1, 100000) n;
        analyze segment_memberships
    """)
    for query in ("where user_id = 'usr-7'", "where user_id between 'usr-7' and 'usr-71'", "order by user_id limit 1000"):
        plan = "\n".join(str(line) for (line,) in built.fetch(f"explain select * from segment_profiles {query}"))
        assert "segment_memberships_pkey" in plan, plan
        assert "Seq Scan" not in plan, plan


@newest
def test_members(built: Database) -> None:
    since: dict[Key, datetime] = {}
    for event, outcome, _ in judged(built):
        if outcome in ("joined", "rejoined"):
            since[event.key] = event.occurred_at
    memberships = built.fetch(MEMBERSHIPS)
    expected = [(*row[:3], since[row[:3]], *row[4:7]) for row in memberships if row[3]]  # type: ignore[index]
    assert built.fetch("select * from segment_members order by 1, 2, 3") == expected


@newest
def test_sizes(built: Database) -> None:
    state: dict[Row, list[Row]] = defaultdict(list)
    for row in built.fetch(MEMBERSHIPS):
        state[row[1:3]].append(row)
    outcomes: dict[Row, Counter[str]] = defaultdict(Counter)
    for event, outcome, _ in judged(built):
        outcomes[event.key[1:]][outcome] += 1
    expected = []
    for segment, rows in sorted(state.items(), key=str):
        members, ever = sum(row[3] is True for row in rows), sum(row[4] is not None for row in rows)
        events, repeats = outcomes[segment].total(), outcomes[segment]["repeat"]
        expected.append((*segment, members, ever, ever - members, events, repeats, repeats / events))
    assert sorted(built.fetch("select * from segment_sizes"), key=str) == sorted(expected, key=str)


@newest
def test_history(built: Database) -> None:
    """Membership as of any time: by the events that had changed the status until then, those of that time included."""
    changes = [(event, outcome) for event, outcome, _ in judged(built) if outcome in ("joined", "rejoined", "left")]
    times = sorted({event.occurred_at for event, _ in changes})
    for at in [*times[:: len(times) // 40], TODAY.replace(year=1999), TODAY.replace(year=2099)]:
        members: dict[Key, bool] = {}
        for event, outcome in changes:
            if event.occurred_at <= at:
                members[event.key] = outcome != "left"
        with built.connect() as connection:
            found = connection.execute(MEMBER_AT, {"at": at}).fetchall()
        assert found == sorted(key for key, member in members.items() if member), at


@newest
def test_overlap(built: Database) -> None:
    members: dict[Row, set[object]] = defaultdict(set)
    for user, vendor, name, member, *_ in built.fetch(MEMBERSHIPS):
        if member:
            members[name, vendor].add(user)
    expected = []
    for a, b in combinations(sorted(members), 2):
        shared = len(members[a] & members[b])
        if shared:
            numbers = (len(members[a]), len(members[b]), shared, shared / len(members[a] | members[b]))
            expected.append((a[1], a[0], b[1], b[0], *numbers))
    assert sorted(built.fetch("select * from segment_overlap"), key=str) == sorted(expected, key=str)


@newest
def test_event_outcomes(built: Database) -> None:
    expected = []
    for event, outcome, previous in judged(built):
        before = previous if outcome != "repeat" else None
        was = None if outcome == "late" else outcome == "left" or (outcome == "repeat" and not event.remove)
        expected.append((
            event.user_id, event.vendor, event.segment_name, "remove" if event.remove else "add", event.value, event.occurred_at,
            outcome if outcome in ("repeat", "late") else "new", outcome, outcome in ("joined", "rejoined", "left"), was,
            before and before.event_id, before and before.occurred_at, before and before.value, event.event_id,
        ))  # fmt: skip
    columns = """
        user_id, vendor, segment_name, action, value, occurred_at, novelty, outcome, changed, was_member,
        previous_event_id::text, previous_occurred_at, previous_value, event_id::text
    """
    assert sorted(built.fetch(f"select {columns} from event_outcomes"), key=str) == sorted(expected, key=str)
    assert built.fetch("select from event_outcomes join segment_batches using (batch_id) where received_at <> recorded_at") == []
