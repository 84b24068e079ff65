"""The lake as tests run it: a program of its own, in its role, against a real server; and its files read without its code."""

import gzip
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from lake.cli import main
from tests.conftest import ROOT, Database, Row
from tests.loading import wait_until

LAKE = (sys.executable, "-m", "lake")
ROLE = "segment_lake"

EVENTS = """
select
  e.event_id::text, e.occurred_at, e.user_id, e.vendor, e.segment_name, e.value, e.remove, e.extra::text, b.arrival, e.seq,
  format('events/vendor=%s/', e.vendor) || to_char(b.recorded_at at time zone 'UTC', '"utc_date="YYYY-MM-DD"/utc_hour="HH24')
from segment_events e join segment_batches b using (batch_id)
"""


def run(database: Database, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the lake's to its end."""
    return database.run(*LAKE, *arguments, **({"PGUSER": ROLE} | environment))  # type: ignore[arg-type]


def here(database: Database, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the lake's within this process, which is cheaper and can be patched."""
    where = database.server.environment(database.name) | {"PGUSER": ROLE} | environment
    done = CliRunner().invoke(main, list(map(str, arguments)), env=where)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


PAST = (
    "select coalesce(max(xact_id::text::bigint), 0) < pg_snapshot_xmin(pg_current_snapshot())::text::bigint from segment_batches"
)
"""Whether no transaction of another test's holds anything back, which would make it two exports' files."""


def export(database: Database, destination: str | Path, *options: str, **environment: str) -> str:
    """Export with success, all in one go; return what was said."""
    wait_until(lambda: database.fetch(PAST) == [(True,)])
    done = here(database, "export", destination, *options, **environment)
    assert done.returncode == 0, done.stderr
    return done.stderr


def rebuild(database: Database, destination: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Rebuild, as the loader's role."""
    return run(database, "rebuild", destination, **({"PGUSER": "segment_loader"} | environment))


@contextmanager
def running(database: Database, *arguments: str | Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command of the lake's in the background; it is gone when the block ends."""
    where = database.environment | {"PGUSER": ROLE} | environment
    with subprocess.Popen([*LAKE, *arguments], cwd=ROOT, env=where, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def files(folder: Path) -> list[Path]:
    """The lake's files in order of their paths, by the glob that its readers would use."""
    return sorted(folder.glob("events/vendor=*/utc_date=*/utc_hour=*/*.*"))


def exported(folder: Path) -> list[Row]:
    """What the lines of a lake say, as rows of EVENTS, in order of them."""
    rows = []
    for file in files(folder):
        with gzip.open(file, "rt", encoding="utf-8", newline="\n") as lines:
            rows += [row(line, file.parent.relative_to(folder).as_posix()) for line in lines]
    return sorted(rows, key=lambda found: found[9])  # type: ignore[arg-type,return-value]


def row(line: str, folder: str) -> Row:
    """A line as a row of EVENTS."""
    fields = read(line)
    meta, segment = fields.pop("_meta"), fields.pop("segment")
    named = [fields.pop("event"), datetime.fromisoformat(fields.pop("timestamp")), fields.pop("user")]
    named += [segment.pop("vendor"), segment.pop("name"), fields.pop("value", None), fields.pop("remove", False)]
    extra = fields | ({"segment": segment} if segment else {}) | ({"_meta": meta["event"]} if "event" in meta else {})
    return (*named, extra or None, meta["arrival"], meta["seq"], folder)


def recorded(database: Database) -> list[Row]:
    """What the tables say, in order of seq."""
    rows = database.fetch(EVENTS + "order by e.seq")
    return [(*found[:7], read(str(found[7])) if found[7] else None, *found[8:]) for found in rows]


def read(text: str) -> Any:
    """JSON with exact numbers."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def check_equal(database: Database, folder: Path) -> None:
    """Assert that the lake has each of the table's events once, in its place, and that its files are recorded as they are."""
    found, expected = exported(folder), recorded(database)
    seqs = Counter(row[9] for row in found), Counter(row[9] for row in expected)
    assert seqs[0] - seqs[1] == Counter()
    assert seqs[1] - seqs[0] == Counter()
    assert found == expected
    known = database.fetch("select path, rows, bytes, checksum from lake_fragments where written_at is not null order by path")
    assert [path for path, *_ in known] == [file.relative_to(folder).as_posix() for file in files(folder)]
    assert all(file.stat().st_size == size for file, (_, _, size, _) in zip(files(folder), known, strict=True))
    assert list(folder.glob(".unfinished/*")) == []
