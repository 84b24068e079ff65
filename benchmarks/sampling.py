"""One look at everything that a soak watches: memory, sizes, log, lag. Bytes are given in MB, that is 10⁶.

A program's memory is what it has resident (RSS). A backend's own is what it shares with nobody (anonymous pages); that of the
whole server counts each page once (PSS), the shared buffers among them.
"""

import re
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from benchmarks.ageing import Calendar
from benchmarks.receiver import percentile, read
from demo.calls import Call

MEGA = 1e6
SHARE = 0.95
"""The share of toggles that is delivered within what is called their lag."""

ROLES = {"segment_loader": "loader", "segment_listener": "listener", "segment_lake": "lake export"}

# Of partitions as pg_inherits lists them: pg_partition_tree() locks all of them until the end, in whose way is who drops one.
SIZES = """
select
  (select sum(pg_total_relation_size(inhrelid)) from pg_inherits where inhparent = 'segment_events'::regclass) as "events",
  (select sum(pg_total_relation_size(inhrelid)) from pg_inherits where inhparent = 'segment_outcomes'::regclass) as "outcomes",
  pg_total_relation_size('segment_batches') as "batches",
  pg_total_relation_size('segment_sources') + pg_total_relation_size('segment_source_positions')
    + pg_total_relation_size('segment_rejects') as "sources and rejects",
  pg_total_relation_size('webhook_cursors') + pg_total_relation_size('webhook_delivered')
    + pg_total_relation_size('webhook_dead_letters') as "cursors",
  (select sum(pg_total_relation_size(oid)) from pg_class where relnamespace = 'pg_catalog'::regnamespace and relkind = 'r')
    as "catalog",
  (select max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)) from pg_replication_slots) as "log kept for slots",
  (select sum(size) from pg_ls_waldir()) as "log"
"""

WRITTEN = "select temp_bytes from pg_stat_database where datname = current_database()"

KEYS = """
select
  pg_table_size('segment_memberships') / n as "memberships",
  pg_relation_size('segment_memberships_pkey') / n as "primary key",
  pg_relation_size('segment_memberships_members') / n as "index of members"
from (select nullif(count(*), 0)::float8 as n from segment_memberships) c
"""

COUNTS = """
select
  (select count(*) from segment_prunable_days('segment_events', %(day)s)) as "days of events",
  (select count(*) from segment_prunable_days('segment_outcomes', %(day)s)) as "days of outcomes",
  (select count(*) from pg_stat_activity where backend_type = 'client backend') as "connections"
"""

# When the newest event was sent that is committed, and when the oldest batch began that no file has.
TIMES = """
select
  (
    select extract(epoch from max(occurred_at))::float8 from segment_events
    where batch_id = (select max(batch_id) from segment_batches)
  ) as newest,
  (
    select extract(epoch from min(b.recorded_at))::float8
    from lake_destinations d join segment_batches b on (b.xact_id, b.batch_id) > (d.xact_id, d.batch_id)
  ) as unexported
"""

BACKENDS = "select pid, usename from pg_stat_activity"

Sample = dict[str, float | None]
"""By the measure's name."""


class Toggles:
    """When toggles were answered that came since they were looked at last, and when they say that they happened."""

    def __init__(self) -> None:
        self.delivered = 0
        self._answered: list[tuple[float, float]] = []

    def answered(self, call: Call) -> None:
        """Take note of a call that is about to be answered."""
        at, timestamps = read(time.time(), call.body)
        self.delivered += call.count
        self._answered += [(at, timestamp) for timestamp in timestamps]

    def lag(self, calendar: Calendar) -> float | None:
        """Within how many seconds after it was sent 95 of 100 were answered, or None when there were none."""
        found, self._answered = self._answered, []
        return percentile(sorted(at - calendar.real(timestamp) for at, timestamp in found), SHARE) if found else None


class Sampler:
    """Looks at a database, the server that it is on, and the programs that work with it, by their process ids."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        postmaster: int,
        programs: Mapping[str, int],
        calendar: Calendar,
        toggles: Toggles,
    ) -> None:
        self.connection = connection
        self.postmaster = postmaster
        self.programs = programs
        self.calendar = calendar
        self.toggles = toggles
        self._written = (time.monotonic(), 0.0)

    def sample(self) -> Sample:
        """Every measure, now."""
        day = self.calendar.day(time.time())
        found: Sample = {name: memory(pid)["Rss"] for name, pid in self.programs.items()}
        found |= self._server() | self._row(KEYS) | self._row(COUNTS, day=day) | self._lags()
        found |= {name: size and size / MEGA for name, size in self._row(SIZES).items()}
        return found | {"temporary files": self._temporary()}

    def _row(self, query: str, **values: object) -> dict[str, Any]:
        with self.connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(query.encode(), values).fetchone() or {}
        return {name: None if value is None else float(value) for name, value in row.items()}

    def _server(self) -> Sample:
        """The memory of the backends of each role, and of all of the server."""
        own: Counter[str] = Counter(dict.fromkeys(ROLES.values(), 0))
        every = memory(self.postmaster)["Pss"]
        for pid, role in self.connection.execute(BACKENDS).fetchall():
            taken = memory(pid)
            every += taken["Pss"]
            own[ROLES.get(role, "")] += taken["Pss_Anon"]  # type: ignore[assignment]
        return {f"{name}'s backends": own[name] for name in ROLES.values()} | {"server": every}

    def _lags(self) -> Sample:
        times = self._row(TIMES)
        now = time.time()
        sent, recorded = (value and now - self.calendar.real(value) for value in times.values())
        return {"loader's lag": sent, "lake's lag": recorded or 0.0, "toggles' lag": self.toggles.lag(self.calendar)}

    def _temporary(self) -> float:
        """What was written to temporary files a second, since the last sample."""
        before, ((written,),) = self._written, self.connection.execute(WRITTEN).fetchall()
        self._written = time.monotonic(), float(written) / MEGA
        return (self._written[1] - before[1]) / max(self._written[0] - before[0], 1e-3)


def memory(pid: int) -> dict[str, float]:
    """What the kernel says of a process's memory, in MB; nothing of one that has ended."""
    try:
        said = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return {"Rss": 0, "Pss": 0, "Pss_Anon": 0}
    return {name: int(kilobytes) * 1024 / MEGA for name, kilobytes in re.findall(r"^(\w+): +(\d+) kB$", said, re.MULTILINE)}
