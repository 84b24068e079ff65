"""Synthetic events for the benchmarks, as files, the loader's way with them, and memberships without events."""

import subprocess
import sys
from pathlib import Path

from benchmarks.bench import DATABASE, Bench
from benchmarks.process import ROOT, Usage, measure

LOADER = (sys.executable, "-m", "loader")
MANY = ("--segments", "10000", "--users", "1000000")
"""The usual workload: most keys are seen once or twice."""

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


def generate(file: Path, events: int, *options: str) -> Path:
    """Write so many events to a file, the same ones every time but for their day; return the file."""
    command = [*LOADER, "generate", "--count", str(events), "--seed", "1", *options]
    with file.open("wb") as opened:
        subprocess.run(command, cwd=ROOT, stdout=opened, check=True)
    return file


def load(bench: Bench, file: Path, *options: str) -> Usage:
    """Load a file, as the loader's role."""
    bench.settle()
    return measure([*LOADER, "stream", *options, str(file)], bench.environment("segment_loader"))


def filled(bench: Bench, memberships: int) -> str:
    """The name of a database to copy, which has so many memberships."""
    name = f"filled_{memberships}"
    if not bench.has(name):
        bench.empty()
        with bench.server.connect(DATABASE, autocommit=True) as connection:
            connection.execute(FILL.encode(), [memberships // OF_USER, OF_USER])
            connection.execute("vacuum analyze segment_memberships")
        bench.keep(name)
    return name
