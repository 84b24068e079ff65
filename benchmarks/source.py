"""The benchmarks' toggles, written by a process: `python -m benchmarks.source ROWS [RATE]`, connected as psql would be.

Dense, unlike the demo's stream, of which few events are toggles: the owner writes rows straight to segment_outcomes, with their
batch's row, in transactions of 100. Each document's value is the moment in which its row was written (Unix time in microseconds),
so whoever receives it knows its age. Prints as JSON how many rows it wrote in how many seconds.
"""

import json
import sys
import time

import psycopg

IN_TRANSACTION = 100

DESCRIPTION = f"rows that the owner writes to segment_outcomes, all of them toggles, in transactions of {IN_TRANSACTION}"

LAST = "select coalesce(max(last_seq), 0) from segment_batches"

WRITE = """
with batch as (
  insert into segment_batches (batch_id, arrival, first_seq, last_seq, events, outcomes)
  select nextval('segment_batch_id'), nextval('segment_arrival'), f, l, l - f + 1, l - f + 1
  from (select %s::bigint, %s::bigint) s (f, l)
  returning batch_id, recorded_at, first_seq, last_seq
)
insert into segment_outcomes (
  seq, recorded_at, batch_id, user_id, occurred_at, event_id, vendor, segment_name, value, remove, outcome,
  previous_event_id, previous_occurred_at, previous_value
)
select
  n, recorded_at, batch_id, 'user-' || n %% 100000, recorded_at, md5(n::text)::uuid, n %% 20, 'segment-' || n %% 500,
  (extract(epoch from clock_timestamp()) * 1000000)::bigint::text, n %% 2 = 0, case n %% 2 when 0 then 'left' else 'rejoined' end,
  md5((n - 1)::text)::uuid, recorded_at - interval '1 hour', 'before'
from batch
cross join generate_series(first_seq, last_seq) n
"""


def write(rows: int, rate: float | None) -> float:
    """Write so many rows, so many a second or, as a backlog, without waiting for the disk; return the seconds that it took."""
    with psycopg.connect(autocommit=True, options="-c role=segment_owner -c timezone=UTC") as connection:
        if rate is None:
            connection.execute("set synchronous_commit = off")
        ((last,),) = connection.execute(LAST).fetchall()
        began = time.monotonic()
        for written in range(0, rows, IN_TRANSACTION):
            if rate is not None:
                time.sleep(max(0.0, began + written / rate - time.monotonic()))
            connection.execute(WRITE, (last + written + 1, last + min(written + IN_TRANSACTION, rows)))
        return time.monotonic() - began


if __name__ == "__main__":
    ROWS = int(sys.argv[1])
    print(json.dumps({"rows": ROWS, "seconds": write(ROWS, float(sys.argv[2]) if sys.argv[2:] else None)}))
