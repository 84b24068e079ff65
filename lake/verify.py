"""Is the lake what was written, and has it all that it should? Every file is read; what is wrong is named, file by file."""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from lake import ledger, mark
from lake.database import one
from lake.errors import LakeError
from lake.ledger import Recorded
from lake.progress import Bar
from lake.store import Store
from loader.database import Connection

CHUNK = 1 << 20

# Of the batches up to the position: how many events they brought, and how many of them no file has. What
# retention has removed since was there.
COVERAGE = """
with position as (select xact_id, batch_id, pruned from lake_destinations where destination = %s),
has as (select range_agg(batches) as batches from lake_fragments where destination = %s and written_at is not null)
select
  (select pruned from position) + coalesce(sum(b.events) filter (where within), 0)::bigint,
  count(*) filter (where within and b.events > 0 and not b.batch_id <@ coalesce(has.batches, '{}')),
  coalesce(sum(b.events) filter (where not within), 0)::bigint
from (
  select b.*, (b.xact_id, b.batch_id) <= (p.xact_id, p.batch_id) as within from segment_batches b cross join position p
) b
cross join has
"""

UNFINISHED = "select from segment_suppressions where finished_at is null limit 1"


class Result(NamedTuple):
    """What there is, and what is wrong with it: a line each."""

    files: int
    events: int
    waiting: int
    """Events that are not exported yet."""
    problems: list[str]

    def sentence(self) -> str:
        """For people."""
        return f"{self.files:,} files have {self.events:,} events; {self.waiting:,} events are not exported yet"


def verify(connection: Connection, store: Store, bar: Bar) -> Result:
    """Compare the files with what is recorded of them, and that with the tables."""
    mark.check(connection, store)
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read")
        written = [fragment for fragment in ledger.fragments(connection, store.name) if fragment.written]
        reduced, missing, waiting = one(connection, COVERAGE, store.name, store.name) or (0, 0, 0)
        erasing = one(connection, UNFINISHED) is not None
    sizes = store.sizes()  # has all that was written, and nothing that is not recorded by now
    replaced = ledger.removals(connection, store.name)
    foreign = sizes.keys() - {fragment.path for fragment in ledger.fragments(connection, store.name)} - set(replaced)
    bar.begin(sum(fragment.size for fragment in written))
    events = sum(fragment.rows for fragment in written)
    problems = [
        *(fault for fragment in written for fault in faults(store, fragment, sizes.get(fragment.path), bar)),
        *(f"{path} is foreign: this database did not export it" for path in sorted(foreign)),
        *(f"{path} has events of an erased user still: run lake erase again" for path in replaced if path in sizes),
        *([f"{missing:,} batches that should be in the lake are in none of its files"] if missing else []),
        *([differing(events, reduced, erasing)] if events != reduced else []),
    ]
    return Result(len(written), events, waiting, problems)


def differing(events: int, reduced: int, erasing: bool) -> str:
    """What it means that the files have not as many events as the tables tell."""
    if erasing:
        return "the files may have events of an erased user still: run lake erase again"
    return f"the files have {events:,} events, the batches that were exported brought {reduced:,}"


def faults(store: Store, fragment: Recorded, size: int | None, bar: Bar) -> Iterator[str]:
    """What is wrong with a file, if anything is."""
    if size is None:
        yield f"{fragment.path} is missing"
    elif size < fragment.size:
        yield f"{fragment.path} is truncated: it has {size:,} bytes of {fragment.size:,}"
    else:
        yield from altered(store, fragment, bar)


def altered(store: Store, fragment: Recorded, bar: Bar) -> Iterator[str]:
    """What is wrong with a file of the right size."""
    try:
        if digest(store, fragment.path, bar) != fragment.checksum:
            yield f"{fragment.path} is altered: its checksum is another"
    except LakeError as error:
        yield str(error)


def digest(store: Store, path: str, bar: Bar) -> bytes:
    """SHA-256 of a file."""
    found = hashlib.sha256()
    with store.open(path) as file:
        while data := file.read(CHUNK):
            found.update(data)
            bar.advance(len(data), "reading files")
    return found.digest()
