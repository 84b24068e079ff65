"""segment_adopt(): what was not delivered and not exported before is what is not delivered and not exported after, exactly."""

import random
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import psycopg
import pytest

from tests.conftest import Database
from tests.listening import listen
from tests.loading import assert_one_sentence, execute, newest, wait_until

WAITING = "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
CURSOR = "insert into webhook_cursors (slot, publication) values (%s, 'segment_toggles')"
BATCHES = "select batch_id, xact_id::text::bigint from segment_batches"
EPOCH = 1 << 34
"""Ids of the old server: greater than any that a new one has given."""


class Snapshot(NamedTuple):
    """What a pg_snapshot says."""

    xmin: int
    xmax: int
    running: frozenset[int]

    def sees(self, xact: int) -> bool:
        """As the documentation of pg_snapshot has it."""
        return xact < self.xmin or (xact < self.xmax and xact not in self.running)

    @classmethod
    def read(cls, text: str) -> "Snapshot":
        """One as PostgreSQL writes it."""
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(map(int, filter(None, running.split(",")))))

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, sorted(self.running)))}"


def drawn(chance: random.Random, ids: list[int]) -> Snapshot:
    """A snapshot of a time when some of these transactions ran and later ones had not begun."""
    xmax = chance.choice(ids) + chance.randrange(3)
    running = frozenset(number for number in ids if number < xmax and chance.random() < 0.2)
    return Snapshot(min(running, default=xmax), xmax, running)


def set_up(database: Database, chance: random.Random) -> None:
    """Batches of an old server in some order, cursors in every state, and lakes that have come as far as they happen to."""
    ids = sorted(EPOCH + number for number in chance.sample(range(1000), chance.randrange(1, 40)))
    keys = [(chance.choice(ids), number) for number in chance.sample(range(1, 500), chance.randrange(1, 60))]
    with database.connect() as connection:
        connection.execute("set local role segment_owner")
        connection.execute("truncate segment_batches, webhook_cursors, lake_destinations cascade")
        connection.execute("update segment_settings set system_identifier = 7")
        connection.cursor().executemany(
            "insert into segment_batches values (%s, %s, %s::text::xid8, now(), %s, %s, 10, 10)",
            [(batch, number, str(xact), 10 * number, 10 * number + 9) for number, (xact, batch) in enumerate(keys, 1)],
        )
        for number in range(chance.randrange(6)):
            connection.execute(*cursor(chance, f"slot{number}", ids))
            noted = [(f"slot{number}", batch, chance.randrange(1, 700)) for _, batch in keys if chance.random() < 0.2]
            connection.cursor().executemany("insert into webhook_delivered values (%s, %s, %s)", noted)
        for number in range(chance.randrange(5)):
            at, until = sorted(chance.choices([(0, 0), *keys], k=2))
            bounds = (*map(str, at), *(map(str, until) if until > at else (None, None)))
            connection.execute(
                "insert into lake_destinations values (%s, 'parquet', 7, %s::text::xid8, %s, %s::text::xid8, %s)",
                (f"lake{number}", *bounds),
            )


def cursor(chance: random.Random, slot: str, ids: list[int]) -> tuple[str, tuple[object, ...]]:
    """The statement that makes a cursor of any state that there can be."""
    past = chance.choice(["none", "wanted", "begun", "done"])
    base = str(drawn(chance, ids)) if chance.random() < 0.8 else None
    snapshot = str(drawn(chance, ids)) if past in ("begun", "done") else None
    documents = chance.choice([0, 3])
    text = """
        insert into webhook_cursors (slot, publication, lsn, commit_lsn, documents, past, past_snapshot, base, version, writer)
        values (%s, 'segment_toggles', %s, %s, %s, %s, %s, %s, 5, gen_random_uuid())
    """
    lsn = None if past == "wanted" else "2/1"
    return text, (slot, lsn, "3/4" if documents else None, documents, past, snapshot, base)


def pairs(database: Database, query: str, *values: object) -> dict[int, int]:
    """A query's two columns."""
    return {int(str(one)): int(str(other)) for one, other in database.fetch(query, *values)}


def undelivered(database: Database) -> dict[str, dict[int, int]]:
    """Of each cursor that knows it: the batches that it has not delivered, and up to which seq it has."""
    batches, last = pairs(database, BATCHES), pairs(database, "select batch_id, last_seq from segment_batches")
    found = {}
    for slot, base in database.fetch("select slot, base::text from webhook_cursors where base is not null or past <> 'done'"):
        noted = pairs(database, "select batch_id, last_seq from webhook_delivered where slot = %s", slot)
        seen = Snapshot.read(str(base)) if base else Snapshot(0, 0, frozenset())
        unseen = [batch for batch, xact in batches.items() if not seen.sees(xact)]
        found[str(slot)] = {batch: noted.get(batch, 0) for batch in unseen if noted.get(batch, 0) < last[batch]}
    return found


def exported(database: Database) -> dict[str, tuple[set[int], set[int]]]:
    """Of each lake: the batches that it has, and those that are announced."""
    batches = [(int(str(xact)), int(str(batch))) for batch, xact in database.fetch(BATCHES)]
    lakes = database.fetch(
        "select destination, xact_id::text::bigint, batch_id, until_xact_id::text::bigint, until_batch_id from lake_destinations"
    )
    return {
        str(name): (
            {batch for xact, batch in batches if (xact, batch) <= at},
            {batch for xact, batch in batches if until[0] is not None and at < (xact, batch) <= until},
        )
        for name, *bounds in lakes
        for at, until in [(tuple(bounds[:2]), tuple(bounds[2:]))]
    }


def adopt(database: Database) -> None:
    """Call the function as its owner, who is no superuser."""
    database.execute("set role segment_owner; select segment_adopt()")


@newest
def test_nothing_lost_and_nothing_twice_in_any_state(database: Database) -> None:
    for seed in range(60):
        set_up(database, random.Random(seed))
        before = undelivered(database), exported(database)
        adopt(database)
        assert (undelivered(database), exported(database)) == before, f"seed {seed}"
        ((highest, xmin),) = database.fetch(
            "select max(xact_id)::text::bigint, pg_snapshot_xmin(pg_current_snapshot())::text::bigint from segment_batches"
        )
        assert int(str(highest)) < int(str(xmin))
        for (base,) in database.fetch("select base::text from webhook_cursors where base is not null"):
            assert Snapshot.read(str(base)).xmax == int(str(highest)) + 1, "what comes later is not delivered"


@newest
def test_cursors_are_left_as_if_their_slots_were_lost(database: Database) -> None:
    """But for those that never knew what they had delivered: their listener says so."""
    for seed in range(30):
        set_up(database, random.Random(seed))
        known = "select slot from webhook_cursors where base is not null or past in ('wanted', 'begun') order by slot"
        before = database.fetch(known)
        adopt(database)
        assert database.fetch("select slot from webhook_cursors where past = 'wanted' and lsn is null order by slot") == before
        others = database.fetch("select lsn::text, documents, commit_lsn from webhook_cursors where past <> 'wanted'")
        assert set(others) <= {("0/0", 0, None)}
    execute(database, "truncate webhook_cursors cascade")
    lost = (
        "insert into webhook_cursors (slot, publication, lsn, past, past_snapshot) values (%s, 'segment_toggles', '1/0', %s, %s)"
    )
    execute(database, lost, database.name, "done", "5:5:")
    execute(database, "update segment_settings set system_identifier = 7")
    adopt(database)
    assert_one_sentence(listen(database, "run", "--url", "http://127.0.0.1:9/"), "nobody can say what was not", "--from start")


@newest
def test_the_own_server_is_left_alone(database: Database) -> None:
    """Never another's, and adopted a moment ago."""
    tables = ("segment_batches", "segment_settings", "webhook_cursors", "lake_destinations")
    whole = [f"select * from {table} order by 1" for table in tables]
    set_up(database, random.Random(1))
    adopt(database)
    for _ in range(2):
        before = [database.fetch(query) for query in whole]
        adopt(database)
        assert [database.fetch(query) for query in whole] == before


@newest
def test_adopted_twice_at_once(database: Database) -> None:
    """The second caller waits for the first, and does nothing: a cursor that was made in between stays."""
    set_up(database, random.Random(2))
    with database.connect() as first, ThreadPoolExecutor() as threads:
        first.execute("select segment_adopt()")
        first.execute(CURSOR, ["new"])
        second = threads.submit(adopt, database)
        wait_until(lambda: database.fetch(WAITING))
        first.commit()
        second.result()
    assert database.fetch("select past, version from webhook_cursors where slot = 'new'") == [("none", 0)]


def test_more_classes_than_ids(own_database: Database) -> None:
    """Never silently wrong: no id may be one that the server has still to give. On a server that has given few."""
    with own_database.connect() as connection:
        ((xmin,),) = connection.execute("select pg_snapshot_xmin(pg_current_snapshot())::text::bigint").fetchall()
        connection.execute("set local role segment_owner")
        connection.execute("update segment_settings set system_identifier = 7")
        connection.execute(
            "insert into segment_batches select n, n, (n + %s)::text::xid8, now(), n, n, 1, 1 from generate_series(1, %s) n",
            [EPOCH, xmin],
        )
        connection.execute(
            "insert into lake_destinations select n::text, 'parquet', 7, (n + %s)::text::xid8, n from generate_series(1, %s) n",
            [EPOCH, xmin],
        )
        with pytest.raises(psycopg.Error) as refused:
            connection.execute("select segment_adopt()")
    assert refused.value.sqlstate == "SG005"
