"""What an export that goes on tells while it cannot: who holds it back, and that its destination is away; each once."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
from rich.console import Console
from rich.progress import Progress

import lake.held
from lake import cut
from lake.errors import StoreAway
from lake.export import Export, Options
from lake.progress import Bar
from lake.store import Folder
from loader.database import Connection
from tests.conftest import Database
from tests.events import TODAY, make, ndjson
from tests.exporting import check_equal, export, running
from tests.loading import finish, load, newest, wait_until

INSERT = f"""
insert into segment_events (user_id, occurred_at, event_id, vendor, segment_name)
values ('o', '{TODAY.isoformat()}', gen_random_uuid(), 7, 's')
"""


@contextmanager
def exporting(database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """An export in a thread for as long as the block runs, and what it says."""
    for name, value in database.server.environment(database.name).items():
        monkeypatch.setenv(name, value)
    said: list[str] = []
    console = Console(file=io.StringIO())
    bar = Bar(console, Progress(console=console, disable=True))
    monkeypatch.setattr(bar, "say", said.append)
    stopping = Event()
    export = Export(Folder(str(folder)), Options("jsonl.gz", 0, 60), stopping, bar)
    thread = Thread(target=export.every, args=[0.01])
    thread.start()
    try:
        yield said
    finally:
        stopping.set()
        thread.join()


def test_who_holds_it_back_is_told_once(own_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And again when it is another. On a server without other tests' transactions."""
    looks, first_held = [], cut.first_held

    def look(connection: Connection) -> int | None:
        looks.append(1)
        return first_held(connection)

    monkeypatch.setattr(cut, "first_held", look)
    monkeypatch.setattr(lake.held, "OLDER_SECONDS", 0.1)
    load(own_database, input=ndjson([make(1)]))
    with exporting(own_database, tmp_path, monkeypatch) as said:

        def told() -> list[str]:
            return [text for text in said if text.startswith("An older transaction")]

        for number in (1, 2):
            with own_database.connect() as older:
                older.execute(INSERT.encode())
                load(own_database, input=ndjson([make(10 + number)]))
                wait_until(lambda number=number: len(told()) == number)  # type: ignore[misc]
                assert f"process {older.info.backend_pid} " in told()[-1]
                seen = len(looks)
                wait_until(lambda seen=seen: len(looks) > seen + 20)  # type: ignore[misc]
                assert len(told()) == number
                older.commit()
        wait_until(lambda: own_database.fetch("select sum(rows) from lake_fragments where written_at is not null") == [(5,)])
    check_equal(own_database, tmp_path)


@newest
def test_a_lake_that_goes_away_meanwhile(database: Database, tmp_path: Path) -> None:
    """As a disk that is unmounted: nothing is written to the place where it was."""
    lake, away = tmp_path / "lake", tmp_path / "away"
    load(database, input=ndjson([make(1)]))
    with running(database, "export", lake, "--every", "10ms", "--linger", "0s") as process:
        wait_until(lambda: database.fetch("select from lake_fragments where written_at is not null"))
        lake.rename(away)
        lake.mkdir()
        load(database, input=ndjson([make(2)]))
        _, err = finish(process, 1)
    assert "not the lake that was exported to" in err.splitlines()[-1]
    assert list(lake.iterdir()) == []
    lake.rmdir()
    away.rename(lake)
    export(database, lake)
    check_equal(database, lake)


@newest
def test_a_store_that_is_away_is_told_once(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, tries = Folder.place, []

    def away(store: Folder, written: list[object]) -> None:
        tries.append(1)
        if len(tries) < 5:
            raise StoreAway
        place(store, written)  # type: ignore[arg-type]

    monkeypatch.setattr(Folder, "place", away)
    load(database, input=ndjson([make(1)]))
    with exporting(database, tmp_path, monkeypatch) as said:
        wait_until(lambda: any("so far" in text for text in said))
    assert [text for text in said if "so far" not in text] == [f"{tmp_path} does not answer: trying again for 60 s"]
    check_equal(database, tmp_path)
