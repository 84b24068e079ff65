"""Compressed files, and patterns of names: loaded exactly once by uncompressed position, whole or not. The newest server only."""

import bz2
import gzip
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from demo.fold import Event
from tests.conftest import Database
from tests.events import document, make, ndjson
from tests.loading import (
    assert_one_sentence,
    check_exactly_once,
    documents,
    events,
    finish,
    load,
    newest,
    rejects,
    run,
    running,
    sample,
    spoil,
    wait_for_count,
    wait_until,
    write,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Pack = Callable[[bytes], bytes]


def as_zst(data: bytes) -> bytes:
    """The bytes as a frame with a checksum, as `zstd` writes it."""
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


both = pytest.mark.parametrize("pack", [gzip.compress, as_zst], ids=["gzip", "zst"])


@pytest.fixture
def good() -> list[Event]:
    """Events for a file."""
    return sample(400, 30)


@pytest.fixture
def plain(tmp_path: Path, good: list[Event]) -> Path:
    """The same lines as a plain file, bad ones among them, whose name is the source's: what the compressed file is checked by."""
    return write(tmp_path / "plain", spoil(documents(good), 37))


@newest
@both
def test_a_whole_one_of_many_parts(database: Database, tmp_path: Path, plain: Path, good: list[Event], pack: Pack) -> None:
    """Recognised by its bytes, whatever its name; and once loaded, so is the plain file."""
    data = plain.read_bytes()
    packed = tmp_path / "packed"
    packed.write_bytes(pack(data[:777]) + pack(b"") + pack(data[777:]) + (bytes(1_000) if pack is gzip.compress else b""))
    assert load(database, "--source", str(plain), "--batch-size", "50", packed) == (400, 0, 10)
    assert "loaded already" in run(database, "--source", str(plain), packed).stderr
    assert load(database, plain) == (0, 0, 0)
    check_exactly_once(database, plain, good)


@newest
@both
def test_cut_off_and_completed(database: Database, tmp_path: Path, plain: Path, good: list[Event], pack: Pack) -> None:
    """Also when it was longer before: that is no other file."""
    whole = pack(plain.read_bytes()[:20_000]) + pack(plain.read_bytes()[20_000:])
    packed = tmp_path / "events"
    reached = 0
    for share in (0.7, 0.4, 0.001):
        packed.write_bytes(whole[: int(len(whole) * share) + 4])
        cut = run(database, "--source", str(plain), packed)
        assert_one_sentence(cut, str(plain), "ends within its compressed data", "run the same command again")
        assert events(database) >= reached
        reached = events(database)
        end = int(re.findall(r"uncompressed byte ([\d,]+)", cut.stderr)[0].replace(",", ""))
        assert plain.read_bytes()[:end].endswith(b"\n") or not end
    assert 0 < reached < len(good)
    packed.write_bytes(whole)
    assert load(database, "--source", str(plain), packed)[1] == 0
    check_exactly_once(database, plain, good)


@newest
def test_damaged_and_replaced_by_a_good_copy(database: Database, tmp_path: Path, plain: Path, good: list[Event]) -> None:
    """Nothing of the damaged member is loaded: its bytes come out, but nobody knows which of them are true."""
    data = plain.read_bytes()
    first, second = gzip.compress(data[:30_000]), bytearray(gzip.compress(data[30_000:]))
    packed = tmp_path / "events"
    packed.write_bytes(first + second)
    second[len(second) // 2] ^= 0x10
    packed.write_bytes(first + second)
    line = data.rfind(b"\n", 0, 30_000) + 1
    for _ in range(2):
        assert_one_sentence(
            run(database, "--source", str(plain), packed), "is damaged", f"uncompressed byte {line:,}", "good copy"
        )
        assert events(database) + len(rejects(database)) == data[:line].count(b"\n")
    packed.write_bytes(gzip.compress(data))
    assert load(database, "--source", str(plain), packed)[1] == 0
    check_exactly_once(database, plain, good)


@newest
def test_the_next_file_waits_for_one_that_is_not_whole(database: Database, tmp_path: Path) -> None:
    one, two = tmp_path / "1.gz", write(tmp_path / "2", [document(make(2))])
    one.write_bytes(gzip.compress(document(make(1)).encode() + b"\n")[:-1])
    assert_one_sentence(run(database, one, two), "1.gz", "complete it")
    assert events(database) == 1


@newest
def test_one_that_has_grown_by_a_member(database: Database, tmp_path: Path) -> None:
    """The member before ended within a line: only now is it whole."""
    good = sample(60, 9)
    data = ndjson(good).encode()
    packed = tmp_path / "events"
    packed.write_bytes(gzip.compress(data[:5_000]))
    load(database, packed)
    with packed.open("ab") as file:
        file.write(gzip.compress(data[5_000:]))
    load(database, packed)
    assert load(database, packed) == (0, 0, 0)
    assert events(database) == 60
    assert [row[1] for row in rejects(database)] == [data.rfind(b"\n", 0, 5_000) + 1]


@newest
def test_replaced_by_another(database: Database, tmp_path: Path) -> None:
    packed = tmp_path / "events.gz"
    packed.write_bytes(gzip.compress(ndjson(sample(40, 9, seed=1)).encode()))
    assert load(database, packed) == (40, 0, 0)
    packed.write_bytes(gzip.compress(ndjson(sample(30, 9, seed=2)).encode()))
    done = run(database, packed)
    assert "was replaced by another file" in done.stderr
    assert events(database) == 70


@newest
def test_killed_anywhere_and_resumed(database: Database, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1_000)
    print("seed", seed)
    chance = random.Random(seed)
    good = sample(1_500, 200, seed)
    plain = write(tmp_path / "plain", spoil(documents(good), 37))
    packed = tmp_path / "events.zst"
    packed.write_bytes(as_zst(plain.read_bytes()))
    options = ("--batch-size", "20", "--source", str(plain), packed)
    for lanes, reached in (("2", chance.randrange(1, 700)), ("5", chance.randrange(700, 1_400))):
        with running(database, "--rate", "5000", "--lanes", lanes, *options) as process:
            wait_for_count(database, reached, process)
    load(database, *options)
    check_exactly_once(database, plain, good)


@newest
def test_a_bomb_takes_no_memory(database: Database, tmp_path: Path) -> None:
    """A line of 200 MB, from a file of some kilobytes."""
    packed = tmp_path / "bomb"
    packed.write_bytes(gzip.compress(bytes(200_000_000)) + gzip.compress(b"\n"))
    with running(database, packed, "-") as process:  # - keeps it alive until its peak was read
        wait_until(lambda: rejects(database))
        peak = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        finish(process)
    assert int(peak[0]) < 100_000


@newest
def test_a_zst_window_that_is_too_wide(database: Database, tmp_path: Path) -> None:
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    packed = tmp_path / "events.zst"
    packed.write_bytes(compressor.compress(document(make(1)).encode()) + compressor.flush())
    assert_one_sentence(run(database, packed), "events.zst", "window", "64 MiB", "--long=26")
    assert events(database) == 0


@newest
def test_a_name_that_says_what_the_bytes_do_not(database: Database, tmp_path: Path) -> None:
    first, wrong = write(tmp_path / "first", [document(make(1))]), tmp_path / "events.GZ"
    wrong.write_bytes(bz2.compress(b"{}"))
    assert_one_sentence(run(database, first, wrong), "events.GZ", "does not begin as gzip does")
    assert events(database) == 0


@newest
def test_compressed_stdin(database: Database) -> None:
    assert_one_sentence(run(database, input=as_zst(ndjson(sample(3, 3)).encode())), "- is", "pipe it through z")
    assert (events(database), rejects(database)) == (0, [])


@newest
def test_patterns(database: Database, tmp_path: Path) -> None:
    """Sorted by name; a file with that very name is the one meant; what matches nothing is said before anything is loaded."""
    for number, name in enumerate(["10", "2", "[1-2]"]):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(ndjson([make(number)]).encode()))
    last = write(tmp_path / "last", [document(make(9))])
    (tmp_path / "folder.gz").mkdir()
    assert_one_sentence(run(database, last, tmp_path / "*.zst"), "No file matches", "*.zst")
    assert_one_sentence(run(database, "--source", "one", tmp_path / "?*.gz"), "--source")
    assert events(database) == 0
    assert load(database, tmp_path / "[1-2].gz") == (1, 0, 0)
    done = run(database, last, tmp_path / "*.gz")
    named = re.findall(rf"loading {tmp_path}/(\S+)", done.stderr)
    assert named == ["last", "10.gz", "2.gz"]
    assert events(database) == 4
