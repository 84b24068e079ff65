"""What is in memory at a time is bounded however long the events are, when they are written and when they are read."""

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow.parquet import ParquetFile

from lake import events, fragment, reading
from lake.cut import Batch, Cut
from lake.errors import BadFragment
from lake.events import Chunk, gathered
from lake.fragment import write
from lake.layout import Place
from lake.ledger import Position
from lake.rebuild import ignored
from lake.store import Folder

PARQUET = b"00000000-0000-0000-0000-000000000001\x012026-11-25 10:00:00+00\x01u\x013\x01s\x01%b\x01f\x01\x011\x01%d\n"
CUT = Cut(Position(1, 1), [Batch("1", 7, 1, 1, "2026-11-25 10", 0.0, 1)])


def of_copy(lengths: list[int]) -> Iterator[list[bytes]]:
    """Rows as COPY brings them, with contents of these lengths."""
    for seq, length in enumerate(lengths):
        yield [b"3 1", b"%d" % seq, b"x" * length]


def test_long_rows_go_from_hand_to_hand_in_small_chunks() -> None:
    chunks = list(gathered(of_copy([500_000] * 40 + [10] * 200), CUT))
    assert [row for chunk in chunks for row in chunk.rows] == [row[2] for row in of_copy([500_000] * 40 + [10] * 200)]
    assert max(sum(map(len, chunk.rows)) for chunk in chunks) <= 2 * events.PORTION
    assert len(chunks) < 30


def test_long_rows_make_small_row_groups_and_are_read_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fragment, "MOST_BYTES", 4_000)
    monkeypatch.setattr(reading, "BATCH_BYTES", 1_000)
    values = ["".join(random.Random(n).choices("abcdef", k=900)) for n in range(20)]
    rows = [PARQUET % (value.encode(), seq) for seq, value in enumerate(values)]
    chunks = [Chunk(Place(3, "2026-11-25", "10"), 7, seq, seq, [row]) for seq, row in enumerate(rows)]
    [written] = write(chunks, tmp_path, "parquet")
    name = written.file.rename(tmp_path / "x.parquet").name
    metadata = ParquetFile(tmp_path / name).metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [5, 5, 5, 5]
    assert [reading.rows_at_a_time(group) for group in groups] == [1, 1, 1, 1]
    items = reading.items(Folder(str(tmp_path)), name, 0, ignored)
    assert [json.loads(item.line)["value"] for item in items] == values


def test_a_file_is_read_to_the_end_of_its_lines_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_LINE", 100)
    (tmp_path / "good.gz").write_bytes(gzip.compress(b"x" * 100 + b"\r\n" + b"y" * 100))
    (tmp_path / "long.gz").write_bytes(gzip.compress(b"x\n" + b"y" * 101 + b"\n"))
    store = Folder(str(tmp_path))
    assert [item.line for item in reading.items(store, "good.gz", 0, ignored)] == [b"x" * 100 + b"\n", b"y" * 100 + b"\n"]
    with pytest.raises(BadFragment, match=r"long\.gz .*a line of more than"):
        list(reading.items(store, "long.gz", 0, ignored))
