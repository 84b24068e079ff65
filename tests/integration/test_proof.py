"""dbt's tests of the reduction: they pass on what the loader brought (tests/building.py asserts it), and find what is altered."""

from pathlib import Path

from tests.building import dbt, files
from tests.conftest import Database
from tests.loading import newest

MEMBERSHIP = "where (user_id, vendor, segment_name) = (select user_id, vendor, segment_name from segment_memberships {} limit 1)"
OUTCOME = "where seq = (select seq from segment_outcomes where outcome = '{}' limit 1)"
EVENT = "where seq = (select seq from segment_event_outcomes where outcome = '{}' limit 1)"

FOLDED = "memberships_equal_the_fold"
JUDGED = "outcomes_equal_the_fold"
ONE = "every_event_has_one_outcome"
COUNTED = "every_batch_counts_its_events"
THERE = "no_event_is_missing"
ACTIVE = "activity_counts_every_event_once"
SINCE = "members_are_in_the_history"
LEFT_OUT = "keys_left_out"

FLIPS = {
    f"update segment_memberships set member = not member {MEMBERSHIP.format('where member')}": {FOLDED, SINCE},
    f"update segment_memberships set value = value || 'x' {MEMBERSHIP.format('where value is not null')}": {FOLDED},
    f"update segment_memberships set value_at = value_at + interval '1 us' {MEMBERSHIP.format('where value is not null')}": {
        FOLDED
    },
    f"update segment_memberships set newest_event_id = gen_random_uuid() {MEMBERSHIP.format('')}": {FOLDED},
    f"update segment_memberships set newest_value = 'x' || coalesce(newest_value, '') {MEMBERSHIP.format('')}": {FOLDED},
    f"update segment_outcomes set recorded_at = recorded_at + interval '1 us' {OUTCOME.format('joined')}": {ONE},
    "update segment_batches set recorded_at = recorded_at + interval '1 us' where batch_id = 3": {ONE},
    f"update segment_memberships set value = null {MEMBERSHIP.format('where value is not null')}": {FOLDED},
    f"update segment_memberships set first = first - interval '1 us' {MEMBERSHIP.format('where member')}": {FOLDED},
    f"update segment_memberships set first = null {MEMBERSHIP.format('where member')}": {FOLDED},
    f"update segment_memberships set last = last + interval '1 us' {MEMBERSHIP.format('')}": {FOLDED},
    f"update segment_memberships set changed = not changed {MEMBERSHIP.format('')}": {FOLDED},
    f"update segment_memberships set events = events - 1 {MEMBERSHIP.format('where events > 1')}": {FOLDED},
    f"update segment_memberships set events = events + 1 {MEMBERSHIP.format('')}": {THERE},
    f"delete from segment_memberships {MEMBERSHIP.format('where member')}": {FOLDED, SINCE},
    """
    insert into segment_memberships (user_id, vendor, segment_name, member, last, changed, events, newest_event_id)
    values ('ghost', 1, 's', false, now(), false, 0, gen_random_uuid())
    """: {FOLDED},
    f"delete from segment_outcomes {OUTCOME.format('joined')}": {JUDGED, COUNTED, ACTIVE},
    f"delete from segment_outcomes {OUTCOME.format('late')}": {JUDGED, COUNTED, ACTIVE},
    f"update segment_outcomes set outcome = 'absent' {OUTCOME.format('late')}": {JUDGED, ACTIVE},
    f"update segment_outcomes set previous_event_id = gen_random_uuid() {OUTCOME.format('left')}": {JUDGED},
    f"update segment_outcomes set previous_value = 'x' || coalesce(previous_value, '') {OUTCOME.format('rejoined')}": {JUDGED},
    f"update segment_outcomes set previous_occurred_at = null {OUTCOME.format('left')}": {JUDGED},
    f"update segment_outcomes set segment_name = 'x' {OUTCOME.format('absent')}": {ONE},
    f"update segment_outcomes set value = 'x' {OUTCOME.format('late')}": {ONE},
    """
    insert into segment_outcomes
    select o.seq, o.recorded_at + interval '1 us', o.batch_id, o.user_id, o.occurred_at, o.event_id, o.vendor, o.segment_name,
      o.value, o.remove, o.outcome, o.previous_event_id, o.previous_occurred_at, o.previous_value
    from segment_outcomes o where outcome = 'absent' limit 1
    """: {ONE, COUNTED, ACTIVE},
    f"delete from segment_events {EVENT.format('repeat')}": {COUNTED, THERE, ACTIVE},
    f"delete from segment_events {EVENT.format('left')}": {ONE, COUNTED, THERE, ACTIVE},
    f"update segment_batches set events = events + 1 {'where batch_id = (select max(batch_id) from segment_batches)'}": {COUNTED},
    f"update segment_batches set outcomes = outcomes - 1 {'where batch_id = (select max(batch_id) from segment_batches)'}": {
        COUNTED
    },
    "update segment_activity set adds = adds + 1 where ctid = (select ctid from segment_activity limit 1)": {ACTIVE},
}
"""What is altered, and which tests find it."""


def compiled(database: Database) -> dict[str, bytes]:
    """Each test of dbt_project/tests as dbt compiled it for the database's template, which names the database."""
    folder = files(database.server) / "compiled/pgsegments/tests"
    return {path.stem: path.read_bytes().replace(b'"segments_built_making".', b"") for path in folder.glob("*.sql")}


@newest
def test_every_alteration_is_found(built: Database) -> None:
    tests = compiled(built)
    assert set(tests) == {FOLDED, JUDGED, ONE, COUNTED, THERE, ACTIVE, SINCE, LEFT_OUT}
    with built.connect() as connection:
        connection.execute("set session_replication_role = replica")
        connection.commit()
        for alteration, finding in FLIPS.items():
            assert connection.execute(alteration.encode()).rowcount == 1, alteration
            found = {name for name, test in tests.items() if connection.execute(test).fetchall()}
            connection.rollback()
            assert found >= finding, alteration


@newest
def test_a_key_without_all_its_events_is_left_out_and_counted(built: Database) -> None:
    """As after retention: whole days of events are gone, and the horizon says so."""
    tests = compiled(built)
    with built.connect() as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("update segment_settings set horizon = date_trunc('day', now(), 'UTC') - interval '1 day'")
        connection.execute("delete from segment_events where occurred_at < (select horizon from segment_settings)")
        ((left_out,),) = connection.execute("""
            select count(*) from segment_memberships m
            left join (select user_id, vendor, segment_name, count(*) as kept from segment_events group by 1, 2, 3) e
            using (user_id, vendor, segment_name)
            where m.events > coalesce(e.kept, 0)
        """).fetchall()
        found = {name: len(connection.execute(test).fetchall()) for name, test in tests.items()}
    assert {name: rows for name, rows in found.items() if rows} == {LEFT_OUT: left_out}
    assert left_out


@newest
def test_dbt_test_fails_on_one_flipped_row(built: Database, tmp_path: Path) -> None:
    built.execute(f"update segment_memberships set member = not member {MEMBERSHIP.format('')}")
    done = dbt(built, "test", "--select", FOLDED, files=tmp_path)
    assert done.returncode == 1
    assert f"FAIL 1 {FOLDED}" in done.stdout, done.stdout
