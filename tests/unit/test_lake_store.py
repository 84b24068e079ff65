"""Destinations: which store they name, by one name however they are written, and what is refused."""

import errno
import os
from pathlib import Path

import pytest

from lake.errors import BadDestination, NoDestination
from lake.store import Folder, Objects, find_store


@pytest.mark.parametrize(
    "destination",
    [
        "", "://", "s3://", "S3:///", "file://", "file:///", "file://host/lake", "file:/lake", "FILE:lake", "data:,lake", "data://x",
        "memory://lake", "s3:lake", "http://127.0.0.1/lake", "https://host/lake", "http://[lake", "nonsense://lake", "a/\udcff",
    ],
)  # fmt: skip
def test_what_is_no_destination(destination: str) -> None:
    with pytest.raises(BadDestination) as refused:
        find_store(destination)
    assert "\n" not in str(refused.value)
    assert str(refused.value).isprintable()


def test_a_folder_has_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    names = ["real", "real//", "./link", f"{tmp_path}/link/", f"file://{tmp_path}/real", f"FILE://{tmp_path}/re%61l/"]
    assert {find_store(name).name for name in names} == {str(tmp_path / "real")}
    assert find_store("2026-11-25T10:00").name == str(tmp_path / "2026-11-25T10:00")
    assert find_store("./s3:x").name == str(tmp_path / "s3:x")


def test_a_folder_has_no_name_where_none_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(NoDestination, match="No such file"):
        find_store("lake")


def test_a_bucket_has_one_name() -> None:
    names = ["s3://bucket/lake", "S3://bucket/lake/", "s3a://bucket/lake//"]
    found = [find_store(name) for name in names]
    assert all(isinstance(store, Objects) for store in found)
    assert {store.name for store in found} == {"s3://bucket/lake"}


def test_of_several_marks_the_first_stays(tmp_path: Path) -> None:
    store = Folder(str(tmp_path))
    assert store.mark() is None
    for mark in (b"1", b"2"):
        store.claim(mark)
    assert store.mark() == b"1"
    assert store.sizes() == {}


def test_a_mark_that_cannot_be_written_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("lake.store.flush", full)
    store = Folder(str(tmp_path))
    with pytest.raises(NoDestination, match="Make room"):
        store.claim(b"1")
    assert store.mark() is None


def test_files_are_listed_without_what_is_being_written(tmp_path: Path) -> None:
    for name in ("a/b.gz", ".unfinished/1", "x.unfinished", "a/lake.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "nowhere").symlink_to("nothing")
    assert Folder(str(tmp_path)).sizes() == {"a/b.gz": 2, "x.unfinished": 2, "a/lake.json": 2}


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which the superuser never meets, so that it is made up."""
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def denied(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(NoDestination, match="closed may not be used"):
        Folder(str(tmp_path)).sizes()
