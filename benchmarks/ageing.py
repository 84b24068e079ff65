"""A database whose days pass in seconds, so that minutes show what retention does in weeks.

A run simulates days: it begins so many days ago, and when it ends it is now. Events carry the simulated time, and what the
database notes as the time of receipt is simulated too, in this one database alone: `simulated.now()` takes the place of now() in
the reducer and in the defaults of segment_batches, segment_rejects and segment_sources. Nothing else is changed, and no row is
ever aged afterwards. The clock of the server and of every program stays what it is, so `lake prune` is told to keep as many days
more as the simulated day lies back.
"""

from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

DAY = 86_400.0

FASTER = """
create schema simulated;
grant usage on schema simulated to public;

create function simulated.now() returns timestamptz language sql stable
return to_timestamp({ends_at}::float8 - ({ends_at}::float8 - extract(epoch from pg_catalog.now())::float8) * {speed}::float8);

create function simulated.finish() returns trigger language plpgsql as $$
begin
  new.finished_at := simulated.now();
  return new;
end $$;

alter function public.segment_reduce() set search_path to simulated, pg_catalog, public, pg_temp;
alter table public.segment_batches alter column recorded_at set default simulated.now();
alter table public.segment_rejects alter column rejected_at set default simulated.now();
alter table public.segment_sources alter column first_seen_at set default simulated.now();
create trigger simulated_finish before update of finished_at on public.segment_sources
for each row when (new.finished_at is not null) execute function simulated.finish();
"""

# As segment_ensure_partitions() makes them, which knows the server's own today alone.
MAKE_DAYS = """
select segment_add_partition(
  'segment_outcomes', format('segment_outcomes_%%s', to_char(day, 'YYYYMMDD')),
  quote_literal(day::date::timestamptz), quote_literal((day::date + 1)::timestamptz)
)
from generate_series(%s::date, %s::date, '1 day') day
where to_regclass(format('segment_outcomes_%%s', to_char(day, 'YYYYMMDD'))) is null
"""


class Calendar(NamedTuple):
    """Which moment a moment of the clock stands for; moments are seconds of Unix time."""

    ends_at: float
    """When the run ends: then the simulated time is the clock's."""
    seconds: float
    """How long the run takes."""
    days: int
    """How many days pass in it."""

    @property
    def began_at(self) -> float:
        """When the run began, by the clock."""
        return self.ends_at - self.seconds

    @property
    def speed(self) -> float:
        """How many simulated seconds pass in one."""
        return self.days * DAY / self.seconds

    @property
    def day_seconds(self) -> float:
        """How long a simulated day takes."""
        return self.seconds / self.days

    def simulated(self, at: float) -> datetime:
        """The simulated time of a moment."""
        return datetime.fromtimestamp(self.ends_at - (self.ends_at - at) * self.speed, UTC)

    def real(self, simulated: float) -> float:
        """The moment at which it was that time."""
        return self.ends_at - (self.ends_at - simulated) / self.speed

    def day(self, at: float) -> date:
        """The simulated UTC day of a moment."""
        return self.simulated(at).date()


def hasten(connection: psycopg.Connection[Any], calendar: Calendar) -> None:
    """Let a database's time be the calendar's, from now on."""
    values = {"ends_at": sql.Literal(calendar.ends_at), "speed": sql.Literal(calendar.speed)}
    connection.execute(sql.SQL(FASTER).format(**values))
    make_days(connection, calendar, calendar.began_at)


def make_days(connection: psycopg.Connection[Any], calendar: Calendar, at: float) -> None:
    """Make the partitions for what is recorded on the simulated day and on the two after it, the last of all excepted."""
    last = calendar.day(min(at + 2 * calendar.day_seconds, calendar.ends_at))
    with connection.transaction():
        connection.execute("set local role segment_owner")
        connection.execute(MAKE_DAYS, [calendar.day(at), last])
