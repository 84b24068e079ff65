"""What was sent, received and exported, as tables of the schema `chaos` in the run's database, for SQL to compare.

Nothing here keeps more than a line in memory. Each line that was sent is judged by tests/contract.py, which shares no code with
the loader: its event, or the codes that it may be rejected with.
"""

import gzip
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg

from chaos.excuses import excused
from chaos.faults import Happened
from chaos.inputs import Source
from chaos.receiving import JOURNAL
from tests.contract import judge

LONGEST_LINE: Final = 1 << 20
"""Bytes that a line may have for the loader."""


def collect(
    connection: psycopg.Connection[Any], sources: Iterable[Source], journal: Path, lake: Path, happened: Sequence[Happened]
) -> None:
    """Make the tables, and bring everything there; the server's tables do not change meanwhile."""
    run(connection, "tables.sql")
    for source in sources:
        copy(connection, "lines", lines(source))
    for name in JOURNAL:
        copy_file(connection, name, journal / f"{name}.csv")
    copy(connection, "lake", exported(lake))
    copy(connection, "excuses", excused(happened))
    run(connection, "derived.sql")


def run(connection: psycopg.Connection[Any], name: str) -> None:
    """Run a file of SQL beside this module."""
    connection.execute(Path(__file__).with_name(name).read_bytes())


def copy(connection: psycopg.Connection[Any], table: str, rows: Iterable[tuple[object, ...]]) -> None:
    """Copy rows into a table."""
    with connection.cursor().copy(f"copy chaos.{table} from stdin".encode()) as into:
        for row in rows:
            into.write_row(row)


def copy_file(connection: psycopg.Connection[Any], table: str, path: Path) -> None:
    """Copy a file of CSV into a table."""
    with path.open("rb") as file, connection.cursor().copy(f"copy chaos.{table} from stdin (format csv)".encode()) as into:
        while chunk := file.read(1 << 16):
            into.write(chunk)


def lines(source: Source) -> Iterator[tuple[object, ...]]:
    """The rows of `chaos.lines`."""
    latest = datetime.now(UTC) + timedelta(days=1)
    position = 0
    with (gzip.open if source.path.suffix == ".gz" else open)(source.path, "rb") as file:
        for line in file:
            yield (source.name, source.exact, position, *judged(line.rstrip(b"\n"), latest))
            position += len(line)


def judged(line: bytes, latest: datetime) -> tuple[object, ...]:
    """Codes, or the event's columns and its other fields."""
    found = {"too_long"} if len(line) > LONGEST_LINE else judge(line, latest)
    if found is None or isinstance(found, set):
        return (sorted(found or {"blank"}), *[None] * 8)
    return (None, *found[:7], json.dumps(found.extra, default=str) if found.extra else None)


def exported(lake: Path) -> Iterator[tuple[object, ...]]:
    """The rows of `chaos.lake`."""
    for path in lake.glob("events/*/*/*/*.jsonl.gz"):
        with gzip.open(path) as file:
            for line in file:
                fields = json.loads(line)
                meta, segment = fields.pop("_meta"), fields.pop("segment")
                event = [fields.pop(name, None) for name in ("event", "timestamp", "user")]
                of_segment = [segment.pop("vendor"), segment.pop("name")]
                rest = [fields.pop("value", None), fields.pop("remove", False)]
                more = fields | ({"segment": segment} if segment else {})
                yield (*event, *of_segment, *rest, json.dumps(more) if more else None, meta["arrival"], meta["seq"])
