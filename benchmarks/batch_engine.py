"""The floor of the work, DuckDB on the whole file at once: `python -m benchmarks.batch_engine FILE TARGET THREADS`.

Into a database file, as a table of events, one of memberships and one of outcomes, by the contract's rules for valid, distinct
events in UTC. No duplicates are found, nothing is checked, no batch follows on another, and nobody reads meanwhile.
"""

import sys

import duckdb

COLUMNS = {
    "event": "uuid",
    "timestamp": "timestamp",
    "user": "varchar",
    "segment": "struct(vendor integer, name varchar)",
    "value": "varchar",
    "remove": "boolean",
}

REDUCTION = """
create table events as
select
  row_number() over () as seq, "user" as user_id, timestamp as occurred_at, event as event_id, segment.vendor as vendor,
  segment.name as segment_name, value, coalesce(remove, false) as remove
from read_json(?, format = 'newline_delimited', columns = ?);

create table memberships as
select
  user_id, vendor, segment_name, not arg_max(remove, (occurred_at, seq)) as member,
  min(occurred_at) filter (not remove) as first, max(occurred_at) as last,
  arg_max(value, (occurred_at, seq)) filter (value is not null) as value, count(*) as events
from events
group by user_id, vendor, segment_name;

create table outcomes as
with judged as (
  select *, coalesce(occurred_at < max(occurred_at) over before, false) as late, bool_or(not remove) over before as was_added
  from events
  window before as (
    partition by user_id, vendor, segment_name order by seq rows between unbounded preceding and 1 preceding
  )
),

chained as (
  select *, lag(remove) over previous as was_removed, lag(event_id) over previous as previous_event_id
  from judged
  window previous as (partition by user_id, vendor, segment_name, late order by seq)
),

told as (
  select
    * exclude (late, was_added, was_removed),
    case
      when late then 'late'
      when remove then case when was_removed is null then 'absent' when was_removed then 'repeat' else 'left' end
      when not was_removed then 'repeat'
      when was_added then 'rejoined'
      else 'joined'
    end as outcome
  from chained
)

from told
where outcome <> 'repeat'
"""


def main(file: str, target: str, threads: str) -> None:
    """Reduce."""
    with duckdb.connect(target, config={"threads": int(threads)}) as connection:
        read, *statements = REDUCTION.split(";")
        connection.execute(read, [file, COLUMNS])
        for statement in statements:
            connection.execute(statement)


if __name__ == "__main__":
    main(*sys.argv[1:])
