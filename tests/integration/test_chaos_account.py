"""The account of `make chaos`: silent about an honest run, and a sentence for whatever is altered in it."""

import base64
import csv
import gzip
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import psycopg
import pytest

from chaos.account import figures, findings
from chaos.evidence import collect
from chaos.faults import Happened
from chaos.inputs import Source, events
from chaos.receiving import Behaviour
from demo.postgres import Server
from tests.conftest import TEMPLATE, Database, Row, clone
from tests.exporting import export
from tests.loading import load, newest
from tests.posting import make_slot, run_to_end

pytestmark = newest

LINES = 1500
SECRET = bytes(range(32))
NUMBER, USER, KEY, PREVIOUS = 0, 4, slice(4, 7), 9


@dataclass(frozen=True)
class Evidence:
    """A small run: its database and its files."""

    database: Database
    source: Source
    journal: Path
    lake: Path
    faults: tuple[Happened, ...] = ()

    def copy(self, folder: Path) -> "Evidence":
        """The same with files of its own, to be altered."""
        for path in (self.journal, self.lake):
            shutil.copytree(path, folder / path.name)
        return replace(self, journal=folder / self.journal.name, lake=folder / self.lake.name)

    def accounted(self, alter: str = "") -> list[str]:
        """What the account finds, after a change of the tables that does not stay."""
        with self.database.connect(autocommit=True) as connection, connection.transaction(force_rollback=True):
            return self.within(connection, alter)

    def within(self, connection: psycopg.Connection[Row], alter: str) -> list[str]:
        connection.execute("set local session_replication_role = replica")  # so that nothing refuses the change
        connection.execute(alter.encode())
        collect(connection, [self.source], self.journal, self.lake, self.faults)
        return findings(connection)


@pytest.fixture(scope="module")
def honest(server: Server, keeper: psycopg.Connection[Row], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    """A run in which nothing goes wrong."""
    folder = tmp_path_factory.mktemp("chaos")
    for database in clone(server, keeper, TEMPLATE):
        yield made(database, folder)


def made(database: Database, folder: Path) -> Evidence:
    path, journal, lake = folder / "events.ndjson", folder / "journal", folder / "lake"
    journal.mkdir()
    path.write_bytes(b"".join(islice(events("seed", datetime.now(UTC), 1000, 0.05), LINES)))
    behaviour = Behaviour(journal, SECRET, 0)
    make_slot(database)
    with behaviour.receiver() as receiver:
        load(database, "--batch-size", "100", path)
        secret = f"whsec_{base64.b64encode(SECRET).decode()}"
        run_to_end(database, receiver, "--max-documents", "10", WEBHOOK_SECRET=secret)
    behaviour.close()
    assert not behaviour.strange
    export(database, lake)
    return Evidence(database, Source(str(path), path), journal, lake)


def read(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def write(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def test_an_honest_run(honest: Evidence) -> None:
    with honest.database.connect(autocommit=True) as connection, connection.transaction(force_rollback=True):
        assert honest.within(connection, "") == []
        counts, lost, duplicates, rejects = figures(connection)
    assert counts["toggles"] == counts["toggles received"] > 20
    assert counts["events"] == counts["events in the lake"] > 1000
    assert counts["duplicate lines"] > 0
    assert lost == {"events": 0, "toggles": 0, "lines of the lake": 0}
    assert duplicates == {}
    assert {"conflict", "refused", "invalid_json"} < set(rejects)


def lose(documents: list[list[str]]) -> None:
    del documents[7]


def swap(documents: list[list[str]]) -> None:
    """Let the first two of a key change places."""
    keys = defaultdict(list)
    for row in documents:
        keys[tuple(row[KEY])].append(row)
    one, other = next(rows[:2] for rows in keys.values() if len(rows) > 1)
    one[:2], other[:2] = other[:2], one[:2]


def rename(documents: list[list[str]]) -> None:
    documents[3][USER] = "somebody"


def misquote(documents: list[list[str]]) -> None:
    documents[3][PREVIOUS] = "8c1f6d7e-3f0a-4b62-9f53-0d5f5a9f2d11"


@pytest.mark.parametrize(
    ("alter", "words"),
    [(lose, "toggles are lost"), (swap, "came before an earlier one"), (rename, "no toggles"), (misquote, "what was recorded")],
)
def test_documents_altered(honest: Evidence, tmp_path: Path, alter: Callable[[list[list[str]]], None], words: str) -> None:
    changed = honest.copy(tmp_path)
    documents = read(changed.journal / "documents.csv")
    alter(documents)
    write(changed.journal / "documents.csv", documents)
    assert any(words in sentence for sentence in changed.accounted())


def doubled(honest: Evidence, folder: Path, broken: str = "") -> tuple[Evidence, float, float]:
    """The third call once more, at the end; and when it was answered for the first time, and the next one came."""
    changed = honest.copy(folder)
    calls, documents = read(changed.journal / "calls.csv"), read(changed.journal / "documents.csv")
    calls[2][3] = broken
    again = ["1000", *calls[2][1:]]
    more = [["1000", *row[1:]] for row in documents if row[NUMBER] == calls[2][NUMBER]]
    write(changed.journal / "calls.csv", [*calls, again])
    write(changed.journal / "documents.csv", [*documents, *more])
    return changed, float(calls[2][2]), float(calls[3][1])


def test_a_call_that_came_twice(honest: Evidence, tmp_path: Path) -> None:
    changed, *_ = doubled(honest, tmp_path)
    (sentence,) = changed.accounted()
    assert "documents came twice" in sentence


def test_a_call_that_came_twice_because_its_answer_was_broken(honest: Evidence, tmp_path: Path) -> None:
    assert doubled(honest, tmp_path, "answer reset")[0].accounted() == []


def test_a_call_that_came_twice_because_of_a_fault(honest: Evidence, tmp_path: Path) -> None:
    changed, answered, later = doubled(honest, tmp_path)
    explaining = [("listener killed", answered), ("PostgreSQL stopped fast", answered), ("PostgreSQL killed", later + 1)]
    no_reason = [("listener killed", later), ("PostgreSQL stopped fast", later), ("PostgreSQL killed", later + 2)]
    no_reason += [("loader killed", answered), ("listener killed", answered - 10)]
    for kind, at in explaining:
        assert replace(changed, faults=(Happened(kind, at, at + 1),)).accounted() == []
    for kind, at in no_reason:
        assert replace(changed, faults=(Happened(kind, at + 0.001, at + 1),)).accounted()


def test_what_was_lost(honest: Evidence, tmp_path: Path) -> None:
    changed = honest.copy(tmp_path)
    (changed.journal / "documents.csv").write_bytes(b"")
    shutil.rmtree(changed.lake)
    with honest.database.connect(autocommit=True) as connection, connection.transaction(force_rollback=True):
        changed.within(connection, "update segment_events set value = 'other' where seq = (select min(seq) from segment_events)")
        counts, lost, *_ = figures(connection)
    assert lost == {"events": 1, "toggles": counts["toggles"], "lines of the lake": counts["events"]}


def test_documents_that_were_set_aside(honest: Evidence, tmp_path: Path) -> None:
    changed = honest.copy(tmp_path)
    calls, documents = read(changed.journal / "calls.csv"), read(changed.journal / "documents.csv")
    calls[2][4] = "True"  # it was a replay
    write(changed.journal / "calls.csv", calls)
    (sentence,) = changed.accounted()
    assert "nobody had refused" in sentence
    set_aside = [row for row in documents if row[NUMBER] == calls[2][NUMBER]]
    write(changed.journal / "refusals.csv", [[calls[2][1], *row[2:5]] for row in set_aside])
    assert changed.accounted() == []
    write(changed.journal / "refusals.csv", [[calls[3][2], *row[2:5]] for row in set_aside])
    assert changed.accounted()


ONE = "ctid = (select ctid from {} limit 1)"
TABLES = {
    "memberships are": ("update segment_memberships set changed = not changed", "segment_memberships"),
    "1 outcomes are": ("update segment_outcomes set previous_value = 'other'", "segment_outcomes"),
    "in quarantine": ("delete from segment_rejects", "segment_rejects"),
    "explained by no line": ("update segment_rejects set position = position + 1", "segment_rejects"),
    "by a right code": ("update segment_rejects set code = 'expired'", "segment_rejects"),
    "count each line once": ("update segment_sources set duplicates = duplicates + 1", "segment_sources"),
    "count their events": ("update segment_batches set events = events + 1", "segment_batches"),
}


@pytest.mark.parametrize("words", TABLES)
def test_tables_altered(honest: Evidence, words: str) -> None:
    change, table = TABLES[words]
    where = ONE.format(f"only {table}") if table != "segment_outcomes" else "seq = (select min(seq) from segment_outcomes)"
    assert any(words in sentence for sentence in honest.accounted(f"{change} where {where}"))


def test_batches_that_arrived_in_another_order(honest: Evidence) -> None:
    found = honest.accounted("update segment_batches set arrival = -arrival")
    assert any("arrived otherwise than they stand" in sentence for sentence in found)


def test_an_event_altered(honest: Evidence) -> None:
    found = honest.accounted("update segment_events set value = 'other' where seq = (select min(seq) from segment_events)")
    for words in ("as they were sent", "no source has", "as they are there", "that the table does not have"):
        assert any(words in sentence for sentence in found)


def test_a_line_of_the_lake_is_missing(honest: Evidence, tmp_path: Path) -> None:
    changed = honest.copy(tmp_path)
    file = next(changed.lake.rglob("*.gz"))
    file.write_bytes(gzip.compress(b"".join(gzip.decompress(file.read_bytes()).splitlines(keepends=True)[1:])))
    (sentence,) = changed.accounted()
    assert "1 events of the table are not in the lake" in sentence


def test_dead_letters_are_left(honest: Evidence) -> None:
    letter = (
        "insert into webhook_dead_letters (slot, document, webhook_id, status, answer) values ('s', '{}', 'msg_1', 400, 'no')"
    )
    (sentence,) = honest.accounted(letter)
    assert "dead letters are left" in sentence
