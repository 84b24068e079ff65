"""Whose lake a destination is: no other database's, none that is away, and one by whatever name it is called."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from lake.store import Folder
from tests.conftest import Database, Row, clone
from tests.events import make, ndjson
from tests.exporting import check_equal, export, files, here, run
from tests.loading import assert_one_sentence, load, newest


@pytest.fixture
def loaded(database: Database) -> Database:
    """With an event."""
    load(database, input=ndjson([make(1)]))
    return database


@pytest.fixture
def copied(loaded: Database, keeper: psycopg.Connection[Row], tmp_path: Path) -> Iterator[Database]:
    """A copy of a database that has exported to `lake`."""
    export(loaded, tmp_path / "lake")
    yield from clone(loaded.server, keeper, loaded.name)


@newest
def test_the_lake_of_another_database(loaded: Database, copied: Database, another: Database, tmp_path: Path) -> None:
    """Be it a copy, which knows the destination."""
    load(copied, input=ndjson([make(2)]))
    for database in (copied, another):
        assert_one_sentence(here(database, "export", tmp_path / "lake"), "another database", "new destination")
        assert_one_sentence(here(database, "verify", tmp_path / "lake"), "another database")
    export(loaded, tmp_path / "lake")
    check_equal(loaded, tmp_path / "lake")


@newest
def test_a_lake_that_is_away(loaded: Database, tmp_path: Path) -> None:
    """Nothing is written to the place where it was; when it is back, it goes on."""
    lake = tmp_path / "lake"
    export(loaded, lake)
    load(loaded, input=ndjson([make(2)]))
    for found in (None, lake):
        lake.rename(tmp_path / "away")
        if found:
            found.mkdir()
        assert_one_sentence(here(loaded, "export", lake), "not the lake that was exported to", "mount it")
        assert_one_sentence(here(loaded, "verify", lake), "not the lake that was exported to")
        if found:
            found.rmdir()
        assert not lake.exists()
        (tmp_path / "away").rename(lake)
    export(loaded, lake)
    check_equal(loaded, lake)


@newest
def test_one_lake_by_other_names(loaded: Database, tmp_path: Path) -> None:
    """Where that cannot be seen from the name, the known one is told."""
    lake = tmp_path / "a lake"
    (tmp_path / "link").symlink_to(lake)
    export(loaded, lake)
    for name in (f"{tmp_path}/link", f"{lake}/../link//", f"FILE://{tmp_path}/a%20lake/"):
        assert "0 events in 0 files" in here(loaded, "export", name).stderr, name
    assert loaded.fetch("select destination from lake_destinations") == [(str(lake),)]
    moved = lake.rename(tmp_path / "moved")
    for command in ("export", "verify"):
        assert_one_sentence(here(loaded, command, moved), str(lake))
    assert len(files(moved)) == 1


@newest
def test_a_lake_from_before_a_reset(loaded: Database, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    export(loaded, lake)
    before = files(lake)
    loaded.execute("set role segment_owner; select segment_reset()")
    load(loaded, input=ndjson([make(2)]))
    for command in ("export", "verify"):
        assert_one_sentence(here(loaded, command, lake), "segment_reset()", "new destination")
    assert files(lake) == before
    export(loaded, tmp_path / "new")
    check_equal(loaded, tmp_path / "new")


@newest
@pytest.mark.parametrize("text", ["", "{}", "[]", "no JSON", '{"system_identifier": "'])
def test_a_mark_that_says_nothing(loaded: Database, tmp_path: Path, text: str) -> None:
    (tmp_path / "lake.json").write_text(text)
    assert_one_sentence(here(loaded, "export", tmp_path), "lake.json")
    assert_one_sentence(here(loaded, "verify", tmp_path), "lake.json")


@newest
def test_two_databases_take_a_folder_at_once(
    loaded: Database, another: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one is faster by a moment: this one leaves it alone."""
    load(another, input=ndjson([make(7)]))
    claim = Folder.claim

    def late(store: Folder, mark: bytes) -> None:
        assert run(another, "export", tmp_path).returncode == 0
        claim(store, mark)

    monkeypatch.setattr(Folder, "claim", late)
    assert_one_sentence(here(loaded, "export", tmp_path), "another database")
    assert_one_sentence(here(loaded, "export", tmp_path), "another database")
    check_equal(another, tmp_path)


class Crash(BaseException):
    """Ends the export as kill -9 would, at a place of the test's choice."""


@newest
def test_ended_before_it_was_marked(loaded: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crashing(_store: Folder, _mark: bytes) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "claim", crashing)
        with pytest.raises(Crash):
            here(loaded, "export", tmp_path)
    export(loaded, tmp_path)
    check_equal(loaded, tmp_path)
