"""What the loader has done and what it will need: sources, quarantine, sizes, partitions. Reads only what its role may read."""

import os
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple, cast

from loader.database import Connection
from loader.errors import BadSource
from loader.source import CompressedSource, open_source

SOURCES = """
select source, position, fingerprint, fingerprint_length, loaded, duplicates, rejected, suppressed, first_seen_at, updated_at
from segment_sources
left join (select source, min(position) as position from segment_source_positions group by source) p using (source)
order by source
"""

REJECTS = "select code, count(*) from segment_rejects group by code order by code"

# Sizes need no privilege. The partition for all days before the first one has no day in its name, and is none of those counted.
TABLES = """
with tables as (
  select t.name, c.oid, c.relname
  from unnest(array['segment_events', 'segment_memberships', 'segment_outcomes']) with ordinality t (name, place)
  join pg_class c on c.oid = t.name::regclass or c.oid in (select inhrelid from pg_inherits where inhparent = t.name::regclass)
),
days as (
  select name, oid, case when relname ~ '_[0-9]{8}$' then to_date(right(relname, 8), 'YYYYMMDD') end as day from tables
)
select
  name, sum(pg_total_relation_size(oid))::bigint,
  count(*) filter (where day < current_date),
  count(*) filter (where day = current_date),
  count(*) filter (where day > current_date)
from days group by name order by name
"""

MISSING = """
select day::date::text from generate_series(current_date, current_date + 1, interval '1 day') day
where to_regclass('segment_outcomes_' || to_char(day, 'YYYYMMDD')) is null
"""

LAST = "select max(updated_at) from segment_sources where loaded + duplicates + rejected > 0"


class SourceStatus(NamedTuple):
    """A source: `position` is the byte below which nothing is missing, `size` that of its file where the file is here."""

    source: str
    position: int | None
    size: int | None
    loaded: int
    duplicates: int
    rejected: int
    suppressed: int
    """Lines of users who have been erased."""
    first_seen_at: datetime
    updated_at: datetime

    def __str__(self) -> str:
        counts = f"{self.loaded:,} loaded, {self.duplicates:,} duplicates, {self.rejected:,} rejected"
        if self.suppressed:
            counts += f", {self.suppressed:,} of erased users"
        of = "" if self.size is None else f" of {self.size:,}"
        read = "" if self.position is None else f"read to byte {self.position:,}{of}, "
        return f"{self.source}: {read}{counts}, last {self.updated_at:%Y-%m-%dT%H:%M:%SZ}"


class TableStatus(NamedTuple):
    """A table with its indexes and partitions; `behind` and `ahead` count the partitions of days before and after today."""

    table: str
    bytes: int
    behind: int
    today: int
    ahead: int

    def __str__(self) -> str:
        days = f", partitions: {self.behind} behind, {self.today} today, {self.ahead} ahead"
        return f"{self.table}: {self.bytes:,} bytes{days if self.behind + self.today + self.ahead else ''}"


class Status(NamedTuple):
    """Everything; `missing` are the UTC days, of today and tomorrow, on which outcomes have no partition."""

    sources: list[SourceStatus]
    rejects: dict[str, int]
    tables: list[TableStatus]
    missing: list[str]
    last_batch_at: datetime | None

    def lines(self) -> Iterator[str]:
        """The status for people."""
        yield from map(str, self.sources)
        yield "rejects: " + (", ".join(f"{count:,} {code}" for code, count in self.rejects.items()) or "none")
        yield from map(str, self.tables)
        yield "last batch: " + (f"{self.last_batch_at:%Y-%m-%dT%H:%M:%SZ}" if self.last_batch_at else "none")

    def warning(self) -> str | None:
        """What to do where partitions are missing, in a sentence."""
        if not self.missing:
            return None
        days = " and ".join(self.missing)
        return (
            f"Warning: segment_outcomes has no partition for {days}: the loader makes it with its next batch, "
            "plain SQL will be refused; run select segment_ensure_partitions(current_date, current_date + 1)."
        )

    def json(self) -> dict[str, object]:
        """The status for programs."""
        tables = [table._asdict() for table in self.tables]
        return self._asdict() | {"sources": [source._asdict() for source in self.sources], "tables": tables}


def status(connection: Connection) -> Status:
    """Look at everything; dates are UTC days of the server's clock."""
    rows = cast(list[tuple[str, int | None, bytes | None, int | None, *tuple[Any, ...]]], connection.execute(SOURCES).fetchall())
    tables = cast(list[tuple[str, int, int, int, int]], connection.execute(TABLES).fetchall())
    last = cast(tuple[datetime | None], connection.execute(LAST).fetchone())
    return Status(
        [SourceStatus(name, at, end(name, print_, length), *counts) for name, at, print_, length, *counts in rows],
        dict(cast(list[tuple[str, int]], connection.execute(REJECTS).fetchall())),
        [TableStatus(*row) for row in tables],
        [str(day) for (day,) in connection.execute(MISSING)],
        last[0],
    )


def end(name: str, fingerprint: bytes | None, length: int | None) -> int | None:
    """The size of the source's file, where there is one on this machine, not compressed, and it is the one that was read."""
    if fingerprint is None or length is None or not os.path.isfile(name):
        return None
    try:
        with open_source(name, None) as source:
            known = not isinstance(source, CompressedSource) and source.fingerprint(length) == fingerprint
            return source.size if known else None
    except BadSource:
        return None
