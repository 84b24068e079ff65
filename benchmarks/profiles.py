"""The views' benchmarks: profiles out of many memberships."""

import time
from collections.abc import Sequence
from functools import partial
from statistics import median

from psycopg.types.string import TextLoader

from benchmarks.bench import DATABASE, Bench
from benchmarks.events import OF_USER, filled
from benchmarks.measurement import Comparison, Measurement, Place, Readings
from benchmarks.results import Goal
from demo.database import dbt

ONE = "select * from segment_profiles where user_id = %s"
FIRST = "select * from segment_profiles order by user_id limit 1000"


def prepare(place: Place) -> Sequence[Measurement]:
    """A user's profile, and a page of them, beside the most memberships."""
    most = max(place.sizes.memberships)
    place.bench.empty(filled(place.bench, most))
    dbt(place.bench.server, DATABASE, "run", "--select", "segment_profiles")
    users = [[f"usr-{number * 7919 % (most // OF_USER):06x}"] for number in range(100)]
    return [
        Measurement(f"a user's profile of {most:,} memberships", partial(timed, place.bench, ONE, users), [Goal("ms", most=2)]),
        Measurement("the first 1,000 profiles by user", partial(timed, place.bench, FIRST, [[]] * 20), [Goal("ms", most=50)]),
    ]


def timed(bench: Bench, query: str, values: Sequence[Sequence[str]]) -> Readings:
    """From the query to its last row, the median over all values."""
    found = []
    with bench.server.connect(DATABASE, autocommit=True) as connection:
        connection.adapters.register_loader("json", TextLoader)  # as psql gets it
        for each in values:
            began = time.monotonic()
            connection.execute(query.encode(), each).fetchall()
            found.append((time.monotonic() - began) * 1000)
    return {"ms": median(found)}


PROFILES = Comparison("profiles", "How long does it take to look up profiles?", prepare)
