"""`loader stream --follow`: a file as it grows and is rotated, each line exactly once. The newest server only."""

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path

import pytest

from demo.fold import Event
from loader.errors import SourceBusy
from loader.follow import go_on
from loader.rotation import read_record
from loader.source import open_source
from tests.conftest import Database
from tests.events import MEMBERSHIPS, OUTCOMES, check_against_fold, document, fold, make
from tests.loading import (
    assert_one_sentence,
    documents,
    events,
    execute,
    finish,
    newest,
    rejects,
    run,
    running,
    sample,
    wait_until,
    write,
)

POSITIONS = "select distinct position from segment_source_positions order by position"


@contextmanager
def following(database: Database, path: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """The follower, at work."""
    with running(database, "--follow", "--linger", "0ms", *options, path) as process:
        yield process


def append(path: Path, *lines: str, end: str = "\n") -> None:
    """Write lines to the end of a file."""
    with path.open("a") as file:
        file.write("".join(line + "\n" for line in lines[:-1]) + lines[-1] + end)


def hear(process: subprocess.Popen[bytes], words: str) -> None:
    """Wait for the next thing it says, which has these words."""
    assert process.stderr
    assert words in process.stderr.readline().decode()


def stop(process: subprocess.Popen[bytes], code: int = 0) -> tuple[dict[str, int], str]:
    """Ask the process to end; return its summary and what it said."""
    process.send_signal(signal.SIGTERM)
    out, err = finish(process, code)
    return json.loads(out), err


def wait_for(database: Database, count: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until there are so many events."""

    def reached() -> bool:
        assert process.poll() is None, process.communicate()[1].decode()
        return events(database) >= count

    wait_until(reached)
    assert events(database) == count


def check_order(database: Database, good: list[Event]) -> None:
    """Assert that these events are all there are, and that they were reduced in this order."""
    memberships, outcomes = fold(good)
    assert database.fetch(MEMBERSHIPS) == memberships
    assert sorted(database.fetch(OUTCOMES), key=str) == sorted(outcomes, key=str)
    check_against_fold(database)


def rename(path: Path) -> None:
    """Rotate as logrotate does: .1 becomes .2, the file .1."""
    aged = sorted(path.parent.glob(f"{path.name}.*"), key=lambda old: -int(old.name.removeprefix(path.name).split(".")[1]))
    for old in aged:
        number, *rest = old.name.removeprefix(f"{path.name}.").split(".")
        old.rename(path.with_name(".".join([path.name, str(int(number) + 1), *rest])))
    path.rename(f"{path}.1")


def compress(path: Path) -> None:
    """Rotate, and compress at once."""
    rename(path)
    old = Path(f"{path}.1")
    status = old.stat()
    packed = Path(f"{old}.gz")
    packed.write_bytes(gzip.compress(old.read_bytes()))
    os.utime(packed, ns=(status.st_atime_ns, status.st_mtime_ns))
    old.unlink()


def copytruncate(path: Path) -> None:
    """Rotate by a copy, and go on in the same file."""
    rename(path)
    shutil.copy(f"{path}.1", copy := Path(f"{path}.copy"))
    Path(f"{path}.1").rename(path)
    copy.rename(f"{path}.1")
    os.truncate(path, 0)


rotations = pytest.mark.parametrize("rotate", [rename, copytruncate], ids=["rename", "copytruncate"])


@newest
def test_lines_as_they_come(database: Database, tmp_path: Path) -> None:
    """Whole lines; what is unfinished waits, and is read again next time. The file may come later."""
    path = tmp_path / "events.log"
    one, two, three = documents(sample(3, 3))
    with following(database, path) as process:
        hear(process, "waiting for")
        append(path, one, two[:20], end="")
        wait_for(database, 1, process)
        append(path, two[20:], three[:-1], end="")
        wait_for(database, 2, process)
        summary, err = stop(process)
    assert (summary["loaded"], summary["rejected"], summary["complete"]) == (2, 0, False)
    assert "stopped as asked" in err
    assert database.fetch(POSITIONS) == [(len(one) + len(two) + 2,)]
    with following(database, path) as process:
        append(path, three[-1])
        wait_for(database, 3, process)
        stop(process)
    assert rejects(database) == []


@newest
@rotations
def test_rotated_while_it_is_followed(database: Database, tmp_path: Path, rotate: Callable[[Path], None]) -> None:
    """The old file is finished, its last line too, and then the new one is begun."""
    path = tmp_path / "events.log"
    good = sample(90, 9)
    lines = documents(good)
    append(path, *lines[:30])
    with following(database, path) as process:
        wait_for(database, 30, process)
        for start in (30, 60):
            last = lines[start + 15]
            append(path, *lines[start : start + 15], last[:40], end="")
            wait_for(database, start + 15, process)
            process.send_signal(signal.SIGSTOP)  # so that it sees the last line in halves
            append(path, last[40:], end="")
            rotate(path)
            append(path, *lines[start + 16 : start + 30])
            process.send_signal(signal.SIGCONT)
            wait_for(database, start + 30, process)
        summary, err = stop(process)
    assert (summary["loaded"], summary["duplicates"], summary["rejected"]) == (90, 0, 0)
    assert "lost" not in err
    check_order(database, good)


@newest
def test_a_writer_that_is_late_to_change_over(database: Database, tmp_path: Path) -> None:
    """It writes to the old file until it writes to the new one, which is there already."""
    path = tmp_path / "events.log"
    lines = documents(sample(4, 4))
    append(path, lines[0])
    with following(database, path) as process, path.open("a") as writer:
        wait_for(database, 1, process)
        rename(path)
        path.touch()
        for number in (1, 2):
            writer.write(lines[number] + "\n")
            writer.flush()
            wait_for(database, number + 1, process)
        append(path, lines[3])
        wait_for(database, 4, process)
        stop(process)


@newest
@pytest.mark.parametrize("begun", [0, 30], ids=["empty", "half a line"])
def test_rotated_before_it_has_a_line(database: Database, tmp_path: Path, begun: int) -> None:
    """The first file of all is held while its first line is waited for."""
    path = tmp_path / "events.log"
    good = sample(4, 4)
    lines = documents(good)
    path.write_text(lines[0][:begun])
    with following(database, path) as process:
        hear(process, "waiting for")
        rename(path)
        with Path(f"{path}.1").open("a") as writer:
            writer.write(f"{lines[0][begun:]}\n{lines[1]}\n")
        append(path, *lines[2:])
        wait_for(database, 4, process)
        stop(process)
    check_order(database, good)


@newest
def test_a_first_file_that_stays_empty(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    path.touch()
    with following(database, path) as process:
        hear(process, "waiting for")
        rename(path)
        append(path, document(make(1)))
        wait_for(database, 1, process)
        stop(process)


@newest
def test_truncated_with_no_copy_left(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    one, two, three = documents(sample(3, 3))
    append(path, one, two)
    with following(database, path) as process:
        wait_for(database, 2, process)
        path.write_text(three + "\n")
        wait_for(database, 3, process)
        _, err = stop(process, 1)
    where = f"its bytes from {len(one) + len(two) + 2} on may be lost"
    assert [where in line for line in err.splitlines() if "lost" in line] == [True, True]
    assert err.splitlines()[-1].startswith("Error: ")


@newest
@pytest.mark.parametrize("deleted", [False, True], ids=["all there", "one deleted"])
def test_several_rotations_while_it_was_down(database: Database, tmp_path: Path, deleted: bool) -> None:
    """The file that was read last is finished, then come those between; where it is gone, that is said."""
    path = tmp_path / "events.log"
    good = sample(120, 9)
    lines = documents(good)
    append(path, *lines[:30])
    with following(database, path) as process:
        wait_for(database, 30, process)
    for start, rotate in ((30, rename), (60, compress), (90, rename)):
        append(path, *lines[start : start + 10], lines[start + 10][:40], end="")
        append(path, lines[start + 10][40:], *lines[start + 11 : start + 20])
        rotate(path)
        append(path, *lines[start + 20 : start + 30])
    write(path.with_name("events.log.old"), lines[:40])
    Path(f"{path}.1.gz").write_bytes(gzip.compress(Path(f"{path}.1").read_bytes()))  # not done yet, as it were
    if deleted:
        Path(f"{path}.3").unlink()
        write(path.with_name("events.log.old"), lines[:29])  # a copy that was made before all was read
    with following(database, path) as process:
        wait_for(database, 40 if deleted else 120, process)
        summary, err = stop(process, int(deleted))
    assert ("may be lost" in err, summary["duplicates"]) == (deleted, 0)
    if not deleted:
        check_order(database, good)


@newest
@pytest.mark.parametrize(
    "names", [("3", "2", "1"), ("11", "10", "9.gz"), ("-20260130", "-20260131.gz", "-20260201")], ids="/".join
)
@pytest.mark.parametrize("same", ["all", "first", "last", "seconds"])
def test_rotated_at_the_same_time(database: Database, tmp_path: Path, names: tuple[str, ...], same: str) -> None:
    """As when times are kept in whole seconds: then names tell which is older, and none is read twice."""
    path = tmp_path / "events.log"
    good = sample(80, 9)
    lines = documents(good)
    append(path, *lines[:10])
    with following(database, path) as process:
        wait_for(database, 10, process)
    append(path, "bad", *lines[10:20])
    times = {"all": (5, 5, 5), "first": (5, 5, 6), "last": (5, 6, 6), "seconds": (5.5, 5, 5.8)}[same]
    for number, (name, time) in enumerate(zip(names, times, strict=True), 1):
        old = Path(f"{path}{'' if name[0] == '-' else '.'}{name}")
        data = b"".join(line.encode() + b"\n" for line in lines[20 * number - 20 : 20 * number])
        data = path.read_bytes() if number == 1 else data
        old.write_bytes(gzip.compress(data) if old.suffix == ".gz" else data)
        os.utime(old, ns=(0, int(time * 10**9)))
    path.unlink()
    empty = Path(f"{path}.0")  # which is a copy of nothing
    empty.touch()
    os.utime(empty, ns=(0, int(times[-1] * 10**9)))
    append(path, *lines[60:])
    with following(database, path) as process:
        wait_for(database, 80, process)
        summary, err = stop(process)
    assert (summary["duplicates"], summary["rejected"], err.count("loading")) == (0, 1, 3)
    check_order(database, good)


@newest
def test_the_same_first_line_in_every_file(database: Database, tmp_path: Path) -> None:
    """A file is known by more than its first line, once more was read."""
    path = tmp_path / "events.log"
    banner, one, two, three = '"started"', *documents(sample(3, 3))
    append(path, banner)
    with following(database, path) as process:
        wait_until(lambda: rejects(database))
        append(path, one)
        wait_for(database, 1, process)
    rename(path)
    append(path, banner, two, three)
    with following(database, path) as process:
        wait_for(database, 3, process)
        stop(process)
    assert len(rejects(database)) == 2


@newest
def test_a_last_line_that_was_loaded_before_it_was_whole(database: Database, tmp_path: Path) -> None:
    """Without --follow it is a line; followed, it is read once more when it is whole."""
    path = tmp_path / "events.log"
    one, two = documents(sample(2, 2))
    append(path, one, two[:30], end="")
    assert run(database, path).returncode == 0
    with following(database, path) as process:
        hear(process, "going on with")
        append(path, two[30:])
        wait_for(database, 2, process)
        stop(process)
    assert len(rejects(database)) == 1


@newest
def test_killed_anywhere_and_rotated_meanwhile(database: Database, tmp_path: Path) -> None:
    """Lines whole and in part, rotations of every kind and kill -9, in any order: each line once, in the order written."""
    seed = random.SystemRandom().randrange(10_000)
    print("seed", seed)
    chance = random.Random(seed)
    path = tmp_path / "events.log"
    good = sample(600, 30, seed)
    lines = documents(good)
    bad: list[str] = []
    append(path, lines[0])
    written = 1

    def wait(count: int, process: subprocess.Popen[bytes]) -> None:
        wait_until(lambda: process.poll() is not None or events(database) >= count)
        assert process.poll() is None, process.communicate()[1].decode()

    for _ in range(5):
        with following(database, path, "--batch-size", "7", "--lanes", chance.choice("123")) as process:
            wait(max(1, written - chance.randrange(10)), process)  # once it has begun it knows what to look for
            for _ in range(chance.randrange(1, 5)):
                for line in lines[written : written + chance.randrange(1, 40)]:
                    at = chance.randrange(len(line))
                    if written % 25 == 0:
                        bad.append(f"{{{written}")
                        append(path, bad[-1])
                    append(path, line[:at], end="")
                    append(path, line[at:])
                    written += 1
                chance.choice([rename, compress, copytruncate, Path.exists])(path)
                if path.exists() and chance.random() < 0.5:
                    wait(written - chance.randrange(40), process)
                append(path, lines[written])
                written += 1
    with following(database, path) as process:
        wait_for(database, written, process)
        summary, err = stop(process)
    assert (summary["duplicates"], "lost" in err) == (0, False)
    assert sorted(map(itemgetter(2), rejects(database)), key=str) == sorted(map(str.encode, bad), key=str)
    check_order(database, good[:written])


@newest
def test_a_file_that_another_loader_has_just_read(database: Database, tmp_path: Path) -> None:
    """What was looked for is not what the source is by now: it is not taken for that."""
    path = tmp_path / "events.log"
    append(path, *documents(sample(3, 3)))
    assert run(database, path).returncode == 0
    with database.connect(autocommit=True) as connection, open_source(str(path), None) as source:
        record = read_record(connection, source.name)
        assert record
        go_on(connection, source, record, str(path), live=True)
        execute(database, "update segment_sources set fingerprint_length = 1")
        with pytest.raises(SourceBusy):
            go_on(connection, source, record, str(path), live=True)


@newest
def test_what_cannot_be_followed(database: Database, tmp_path: Path) -> None:
    plain, packed, named = (tmp_path / name for name in ("plain", "packed", "missing.zst"))
    append(plain, document(make(1)))
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    os.mkfifo(fifo := tmp_path / "fifo")
    for names, words in (
        ((), ["stdin"]),
        ((plain, packed), ["one file"]),
        ((packed,), ["packed", "compressed"]),
        ((named,), ["missing.zst", "compressed"]),
        ((fifo,), ["no regular file"]),
    ):
        assert_one_sentence(run(database, "--follow", *names), *words)
    assert events(database) == 0
