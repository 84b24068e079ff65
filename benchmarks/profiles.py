"""The views' benchmarks: profiles out of many memberships, and how long dbt takes to prove the reduction."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.string import TextLoader

from benchmarks.bench import DATABASE, Bench
from benchmarks.events import MANY, generate, load
from benchmarks.results import Figure
from demo.database import build_views, dbt


@dataclass(frozen=True)
class Sizes:
    """How many memberships profiles are read from, and how many events the reduction is proved for."""

    memberships: int = 10_000_000
    events: int = 2_000_000


QUICK = Sizes(memberships=20_000, events=5_000)

OF_USER = 10
"""Memberships of a user."""

FILL = """
insert into segment_memberships (user_id, vendor, segment_name, member, first, last, value, changed, events, newest_event_id)
select
  'usr-' || lpad(to_hex(u), 6, '0'), k, 'seg-' || to_hex(mod(u * 31 + k * 977, 10000)), mod(u + k, 3) <> 0,
  now() - u * interval '1 ms' - interval '30 days', now() - u * interval '1 ms', case when k < 5 then 'gold' end, true, 3,
  gen_random_uuid()
from generate_series(0, %s - 1) u, generate_series(1, %s) k
"""

ONE = "select * from segment_profiles where user_id = %s"
FIRST = "select * from segment_profiles order by user_id limit 1000"

PROOF = (
    *("memberships_equal_the_fold", "outcomes_equal_the_fold", "every_event_has_one_outcome"),
    *("every_batch_counts_its_events", "no_event_is_missing", "keys_left_out"),
)


def measured(bench: Bench, sizes: Sizes) -> Iterator[Figure]:
    """Every figure, as it is found."""
    bench.empty()
    build_views(bench.server, DATABASE)
    users = sizes.memberships // OF_USER
    with bench.server.connect(DATABASE, autocommit=True) as connection:
        connection.adapters.register_loader("json", TextLoader)  # as psql gets it
        connection.execute(FILL.encode(), [users, OF_USER])
        connection.execute("vacuum analyze segment_memberships")
        lookups = [timed(connection, ONE, f"usr-{number * 7919 % users:06x}") for number in range(100)]
        firsts = [timed(connection, FIRST) for _ in range(20)]
    yield Figure(f"profile of one user, {sizes.memberships:,} memberships", "ms", lookups, most=2)
    yield Figure("first 1,000 profiles by user", "ms", firsts, most=50)
    bench.empty()
    build_views(bench.server, DATABASE)
    with tempfile.TemporaryDirectory(prefix="pgsegments-bench-") as folder:
        load(bench, generate(Path(folder) / "events.ndjson", sizes.events, *MANY))
    began = time.monotonic()
    dbt(bench.server, DATABASE, "test", "--select", *PROOF)
    yield Figure(f"proof of {sizes.events:,} events by dbt", "s", [time.monotonic() - began], most=60)


def timed(connection: psycopg.Connection[Any], query: str, *values: object) -> float:
    """Milliseconds from the query to its last row."""
    began = time.monotonic()
    connection.execute(query.encode(), values).fetchall()
    return (time.monotonic() - began) * 1000
