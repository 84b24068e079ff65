"""Retention as tests run it: `lake prune` in its role, and a database that looks as if it had been loaded long ago."""

import subprocess
from datetime import date, timedelta
from pathlib import Path

from demo.fold import Event
from tests.conftest import Database
from tests.events import TODAY, make
from tests.exporting import LAKE, run

ROLE = "segment_keeper"
PRUNE = (*LAKE, "prune")

# As if each batch had been recorded on the day of its newest event.
AGE = """
do $$
declare
  day date;
begin
  set local session_replication_role = replica;
  create temporary table aged on commit drop as
  select batch_id, date_trunc('day', max(occurred_at), 'UTC') + interval '12 hours' as recorded_at
  from segment_events group by batch_id;
  for day in select distinct (recorded_at at time zone 'UTC')::date from aged loop
    if to_regclass('segment_outcomes_' || to_char(day, 'YYYYMMDD')) is null then
      perform segment_add_partition(
        'segment_outcomes', 'segment_outcomes_' || to_char(day, 'YYYYMMDD'), quote_literal(day::timestamptz),
        quote_literal((day + 1)::timestamptz)
      );
      execute format('alter table %I owner to segment_owner', 'segment_outcomes_' || to_char(day, 'YYYYMMDD'));
    end if;
  end loop;
  update segment_batches b set recorded_at = a.recorded_at from aged a where a.batch_id = b.batch_id;
  update segment_outcomes o set recorded_at = a.recorded_at from aged a where a.batch_id = o.batch_id;
end $$
"""


def age(database: Database) -> None:
    """Let each batch have been recorded on the day of its newest event."""
    with database.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(AGE.encode())


def ago(days: int, number: int, user: str = "u", *, remove: bool = False) -> Event:
    """An event at noon, so many UTC days ago."""
    return make(days * 1000 + number, user, seconds=(0.5 - days) * 86_400, remove=remove)


def day(days_ago: int) -> date:
    """That UTC day."""
    return (TODAY - timedelta(days=days_ago)).date()


def prune(database: Database, destination: Path, *options: str, keep: str = "30d") -> subprocess.CompletedProcess[str]:
    """Run `lake prune` to its end."""
    return run(database, "prune", destination, "--keep", keep, *options, PGUSER=ROLE)


def pruned(database: Database, destination: Path, *options: str, keep: str = "30d") -> str:
    """Prune with success; return what was said."""
    done = prune(database, destination, *options, keep=keep)
    assert done.returncode == 0, done.stderr
    return done.stderr


def kept_days(database: Database, parent: str) -> list[int]:
    """How many days ago those were that have rows in the table, by when they happened or were recorded."""
    column = "occurred_at" if parent == "segment_events" else "recorded_at"
    rows = database.fetch(f"select distinct ({column} at time zone 'UTC')::date from {parent} order by 1")
    return sorted((TODAY.date() - found).days for (found,) in rows)  # type: ignore[operator]
