"""The scenarios that the contract promises: in every split into batches, delivered twice, by the loader and by psql's \\copy.

Every split has users of its own, so one load can bring the next batch of all splits at once.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from demo.fold import Event
from tests.conftest import Database, Row
from tests.events import ndjson

PLANES, TRAINS, AUTOS = (42, "planes"), (32, "trains"), (52, "autos")
TS1, TS2, TS3 = (datetime(2021, 1, day, 12, 34, 56, tzinfo=UTC) for day in (16, 17, 18))

STATE = """
select split_part(user_id, '~', 2)::int, split_part(user_id, '~', 1), segment_name, first, last, member, value
from segment_memberships order by user_id, segment_name, vendor
"""
OUTCOMES = """
select split_part(user_id, '~', 2)::int, right(event_id::text, 1)::int, outcome from segment_event_outcomes order by 1, 2
"""
TOGGLES = """
select split_part(user_id, '~', 2)::int, right(event_id::text, 1)::int, right(previous_event_id::text, 1)::int
from segment_toggles order by 1, 2
"""

Load = Callable[[Database, Sequence[Event], Path], None]


def made(
    number: int, user: str, segment: tuple[int, str], at: datetime, value: str | None = None, *, remove: bool = False
) -> Event:
    """Event `number` of a scenario."""
    return Event(f"00000000-0000-4000-8000-{number:012}", at, user, *segment, value, remove)


A = [
    made(0, "alice", PLANES, TS1, "associated value"),
    made(1, "bob", TRAINS, TS1),
    made(2, "alice", PLANES, TS2, "updated value"),
    made(3, "alice", PLANES, TS3),
    made(4, "bob", TRAINS, TS2, remove=True),
    made(5, "carly", PLANES, TS3, remove=True),
]
A_AFTER_2: list[Row] = [
    ("alice", "planes", TS1, TS1, True, "associated value"),
    ("bob", "trains", TS1, TS1, True, None),
]
A_AFTER_6: list[Row] = [
    ("alice", "planes", TS1, TS3, True, "updated value"),
    ("bob", "trains", TS1, TS2, False, None),
    ("carly", "planes", None, TS3, False, None),
]

B = [
    made(0, "alice", TRAINS, TS1),
    made(1, "alice", PLANES, TS1, "associated value"),
    made(2, "bob", TRAINS, TS2),
    made(3, "alice", PLANES, TS2, remove=True),
    made(4, "alice", AUTOS, TS2),
]
B_AFTER_2: list[Row] = [("alice", "planes", TS1, TS1, True, "associated value"), ("alice", "trains", TS1, TS1, True, None)]
B_AFTER_5: list[Row] = [
    ("alice", "autos", TS2, TS2, True, None),
    ("alice", "planes", TS1, TS2, False, "associated value"),
    ("alice", "trains", TS1, TS1, True, None),
    ("bob", "trains", TS2, TS2, True, None),
]

C = [
    made(0, "alice", TRAINS, TS1),
    made(1, "alice", TRAINS, TS1),
    made(2, "bob", TRAINS, TS1, remove=True),
    made(3, "bob", TRAINS, TS1),
    made(4, "alice", TRAINS, TS2, remove=True),
    made(5, "alice", TRAINS, TS2, remove=True),
    made(6, "alice", TRAINS, TS3),
    made(7, "bob", TRAINS, TS3, remove=True),
]
C_OUTCOMES = list(enumerate(["joined", "repeat", "absent", "joined", "left", "repeat", "rejoined", "left"]))


def by_loader(database: Database, events: Sequence[Event], folder: Path) -> None:
    """Load by the loader's command line, in one batch."""
    del folder
    done = database.loader("stream", "--lanes", "1", "-", input=ndjson(events), PGUSER="segment_loader")
    assert done.returncode == 0, done.stderr


def by_psql(database: Database, events: Sequence[Event], folder: Path) -> None:
    """Load by psql's \\copy; where some are known, by way of a temporary table that leaves those out."""
    path = folder / "events.copy"
    path.write_text("".join(row(event) for event in events))
    columns = "user_id, occurred_at, event_id, vendor, segment_name, value, remove"
    ids = [event.event_id for event in events]
    script = f"\\copy segment_events ({columns}) from '{path}'\n"
    if database.fetch("select from segment_events where event_id = any (%s::uuid[])", ids):
        script = f"""
            create temp table again as select {columns} from segment_events limit 0;
            \\copy again from '{path}'
            insert into segment_events ({columns}) select * from again on conflict (user_id, occurred_at, event_id) do nothing;
        """
    done = database.psql("-U", "segment_loader", input=script)
    assert done.returncode == 0, done.stderr


def row(event: Event) -> str:
    """A line of COPY's text format."""
    value = "\\N" if event.value is None else event.value
    fields = (event.user_id, event.occurred_at.isoformat(), event.event_id, event.vendor, event.segment_name, value, event.remove)
    return "\t".join(map(str, fields)) + "\n"


def splits(events: Sequence[Event]) -> Iterator[list[Sequence[Event]]]:
    """Every way to cut the events into batches, in order."""
    if not events:
        yield []
    for size in range(1, len(events) + 1):
        for rest in splits(events[size:]):
            yield [events[:size], *rest]


def of_split(event: Event, number: int) -> Event:
    """The event as the split's own: other user, other id."""
    return event._replace(user_id=f"{event.user_id}~{number}", event_id=f"00000000-0000-4000-{number:04}-{event.event_id[-12:]}")


def by_split(database: Database, query: str) -> dict[int, list[Row]]:
    """The query's rows of each split."""
    found: dict[int, list[Row]] = defaultdict(list)
    for number, *rest in database.fetch(query):
        found[number].append(tuple(rest))  # type: ignore[index]
    return found


def check(
    database: Database, load: Load, folder: Path, events: Sequence[Event], expected: dict[int, tuple[str, list[Row]]]
) -> None:
    """Where a split's batch ends after so many events, the query has the rows expected; a second delivery changes nothing."""
    every = list(enumerate(splits(events)))
    for turn in range(len(events)):
        load(
            database,
            [of_split(event, number) for number, split in every for batch in split[turn : turn + 1] for event in batch],
            folder,
        )
        found = {query: by_split(database, query) for query, _ in expected.values()}
        for number, split in every:
            loaded = sum(map(len, split[: turn + 1]))
            if turn < len(split) and loaded in expected:
                query, rows = expected[loaded]
                assert found[query][number] == rows, split
    assert len(database.fetch("select from segment_batches")) == len(events)
    before = [database.fetch(query) for query in (STATE, OUTCOMES, TOGGLES)]
    load(database, [of_split(event, number) for number, _ in every for event in events], folder)
    assert [database.fetch(query) for query in (STATE, OUTCOMES, TOGGLES)] == before


@pytest.mark.parametrize("load", [by_loader, by_psql], ids=lambda load: load.__name__)
class TestScenarios:
    """A to C."""

    def test_a(self, database: Database, load: Load, tmp_path: Path) -> None:
        check(database, load, tmp_path, A, {2: (STATE, A_AFTER_2), 6: (STATE, A_AFTER_6)})

    def test_b(self, database: Database, load: Load, tmp_path: Path) -> None:
        check(database, load, tmp_path, B, {2: (STATE, B_AFTER_2), 5: (STATE, B_AFTER_5)})

    def test_c(self, database: Database, load: Load, tmp_path: Path) -> None:
        toggles: dict[int, tuple[str, list[Row]]] = {
            4: (TOGGLES, []),
            7: (TOGGLES, [(4, 1), (6, 5)]),
            8: (TOGGLES, [(4, 1), (6, 5), (7, 3)]),
        }
        check(database, load, tmp_path, C, toggles)
        assert set(map(tuple, by_split(database, OUTCOMES).values())) == {tuple(C_OUTCOMES)}
