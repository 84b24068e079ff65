"""What is kept in the database of a delivery: the cursor, so that it goes on where it was, and the dead letters."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from listener.database import Connection, one
from listener.outbox import Position

LOAD = """
select
  publication, (lsn - '0/0'::pg_lsn)::bigint, coalesce(commit_lsn - '0/0'::pg_lsn, 0)::bigint, documents,
  past, past_snapshot::text, past_arrival, past_seq, committed_at, delivered, called_at, answer
from webhook_cursors where slot = %s
"""

SAVE = """
insert into webhook_cursors (
  slot, publication, lsn, commit_lsn, documents,
  past, past_snapshot, past_arrival, past_seq, committed_at, delivered, called_at, answer
)
select
  %(slot)s, %(publication)s, '0/0'::pg_lsn + %(lsn)s::numeric, '0/0'::pg_lsn + nullif(%(commit_lsn)s, 0)::numeric, %(documents)s,
  %(past)s, %(snapshot)s::pg_snapshot, %(arrival)s, %(seq)s, %(committed_at)s::timestamptz, %(delivered)s,
  %(called_at)s::timestamptz, %(answer)s
from (select set_config('synchronous_commit', coalesce(%(synchronous)s, current_setting('synchronous_commit')), true) offset 0) s
on conflict (slot) do update set
  publication = excluded.publication,
  lsn = excluded.lsn,
  commit_lsn = excluded.commit_lsn,
  documents = excluded.documents,
  past = excluded.past,
  past_snapshot = excluded.past_snapshot,
  past_arrival = excluded.past_arrival,
  past_seq = excluded.past_seq,
  committed_at = excluded.committed_at,
  delivered = excluded.delivered,
  called_at = excluded.called_at,
  answer = excluded.answer,
  updated_at = now()
"""

SET_ASIDE = """
insert into webhook_dead_letters (slot, document, webhook_id, status, answer)
select %(slot)s, document::json, webhook_id, status, answer
from unnest(%(documents)s::text[], %(ids)s::text[], %(statuses)s::integer[], %(answers)s::text[])
  with ordinality l (document, webhook_id, status, answer, n)
where webhook_id not in (
  select webhook_id from webhook_dead_letters where slot = %(slot)s order by id desc limit cardinality(%(ids)s::text[])
)
order by n
"""
"""Where a commit was not heard of, the slot's last ones are these."""


class DeadLetter(NamedTuple):
    """A document that the receiver refused for good, by which call, and with what answer."""

    document: bytes
    webhook_id: str
    status: int
    answer: str


@dataclass
class Cursor:
    """How far a slot's delivery has come; `position` is None until the slot is made."""

    slot: str
    publication: str
    position: Position | None = None
    past: str = "none"
    snapshot: str | None = None
    arrival: int = 0
    seq: int = 0
    committed_at: datetime | None = None
    delivered: int = 0
    called_at: datetime | None = None
    answer: str | None = None
    changed: bool = field(default=False, compare=False)
    """Whether it is ahead of what is saved."""
    letters: list[DeadLetter] = field(default_factory=list, compare=False)
    """Documents that it has passed by and that are not set aside yet."""


async def load(connection: Connection, slot: str) -> Cursor | None:
    """The slot's cursor, if it has one."""
    if (row := await one(connection, LOAD, slot)) is None:
        return None
    publication, lsn, commit_lsn, documents, *rest = row
    return Cursor(slot, publication, None if lsn is None else Position(lsn, commit_lsn, documents), *rest)


async def save(connection: Connection, cursor: Cursor, durable: bool = True) -> None:
    """Write the cursor and its dead letters, in one transaction; done again, it writes no letter twice.

    What is not `durable` outlives the listener's end at once, the server's only a moment later; it does not wait for the disk.
    """
    lsn, commit_lsn, documents = cursor.position or (None, 0, 0)
    values = vars(cursor) | {"lsn": lsn, "commit_lsn": commit_lsn, "documents": documents}
    values["synchronous"] = None if durable else "off"
    letters = tuple(cursor.letters)
    cursor.changed = not durable
    if letters:
        async with connection.transaction():
            await connection.execute(SET_ASIDE, columns(cursor.slot, letters))
            await connection.execute(SAVE, values)
    else:
        await connection.execute(SAVE, values)
    del cursor.letters[: len(letters)]


def columns(slot: str, letters: Sequence[DeadLetter]) -> dict[str, object]:
    """Dead letters as SET_ASIDE takes them."""
    return {
        "slot": slot,
        "documents": [letter.document.decode() for letter in letters],
        "ids": [letter.webhook_id for letter in letters],
        "statuses": [letter.status for letter in letters],
        "answers": [letter.answer for letter in letters],
    }
