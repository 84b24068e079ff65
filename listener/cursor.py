"""What is kept in the database of a delivery: the cursor, so that it goes on where it was, and the dead letters."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID, uuid4

from listener.database import Connection, one
from listener.errors import CursorMoved
from listener.outbox import Position

TIMELINE = "left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)"
"""The server's: a standby that takes its place begins another, and may lack what was the latest on this one."""

LOAD = f"""
select
  publication, (lsn - '0/0'::pg_lsn)::bigint, coalesce(commit_lsn - '0/0'::pg_lsn, 0)::bigint, documents,
  wanted, past, past_snapshot::text, base::text, committed_at, delivered, called_at, answer, version, writer, {TIMELINE}
from webhook_cursors where slot = %s
"""  # noqa: S608 - a constant

WRITER = uuid4()
"""This process."""

KNOWN = f"""
coalesce(%(timeline)s, {TIMELINE}) = {TIMELINE} and (
  webhook_cursors.writer = %(me)s
  or (webhook_cursors.writer, webhook_cursors.version) is not distinct from (%(writer)s::uuid, %(version)s::bigint)
)
"""
"""Whether nobody else has written the cursor since it was loaded. What was written without waiting for the disk, a crash may have
undone: so the last one need not be there. On another timeline even what is there may mean something else."""

SAVE = f"""
with ours as (
  select from webhook_cursors where slot = %(slot)s and {KNOWN} for update
),

known as (
  select where exists (select from ours)
    or (%(timeline)s::text is null and not exists (select from webhook_cursors where slot = %(slot)s))
),

noted as (
  insert into webhook_delivered (slot, batch_id, last_seq)
  select %(slot)s, batch_id, last_seq from unnest(%(batch_ids)s::bigint[], %(seqs)s::bigint[]) d (batch_id, last_seq)
  where exists (select from known)
  on conflict (slot, batch_id) do update set last_seq = greatest(webhook_delivered.last_seq, excluded.last_seq)
)

insert into webhook_cursors (
  slot, publication, lsn, commit_lsn, documents, wanted, past, past_snapshot, base, committed_at, delivered, called_at, answer,
  version, writer
)
select
  %(slot)s, %(publication)s, '0/0'::pg_lsn + %(lsn)s::numeric, '0/0'::pg_lsn + nullif(%(commit_lsn)s, 0)::numeric, %(documents)s,
  %(only)s::text[], %(past)s, %(snapshot)s::pg_snapshot, %(base)s::pg_snapshot, %(committed_at)s::timestamptz, %(delivered)s,
  %(called_at)s::timestamptz, %(answer)s, 1, %(me)s
from (select set_config('synchronous_commit', coalesce(%(synchronous)s, current_setting('synchronous_commit')), true) offset 0) s
where exists (select from known)
on conflict (slot) do update set
  publication = excluded.publication,
  lsn = excluded.lsn,
  commit_lsn = excluded.commit_lsn,
  documents = excluded.documents,
  wanted = excluded.wanted,
  past = excluded.past,
  past_snapshot = excluded.past_snapshot,
  base = excluded.base,
  committed_at = excluded.committed_at,
  delivered = excluded.delivered,
  called_at = excluded.called_at,
  answer = excluded.answer,
  version = webhook_cursors.version + 1,
  writer = excluded.writer,
  updated_at = now()
where {KNOWN}
"""  # noqa: S608 - a constant

FORGET = """
delete from webhook_delivered d
where d.slot = %(slot)s and not exists (
  select from segment_batches b where b.batch_id = d.batch_id and not pg_visible_in_snapshot(b.xact_id, %(base)s::pg_snapshot)
)
"""
"""What the base sees need not be kept, nor what is no more."""

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
    """How far a slot's delivery has come; `position` is None until the slot is made.

    Delivered is what `base` sees, and of other batches what is noted in webhook_delivered. Of that which `snapshot` sees the rest
    is the past: the slot will not stream it. `only` is what the counts in the position are of, as in listener run --only.
    """

    slot: str
    publication: str
    position: Position | None = None
    only: list[str] = field(default_factory=list)
    past: str = "none"
    snapshot: str | None = None
    base: str | None = None
    committed_at: datetime | None = None
    delivered: int = 0
    called_at: datetime | None = None
    answer: str | None = None
    version: int = 0
    writer: UUID | None = None
    """Who had written it last when it was loaded, and the version that it had then."""
    timeline: str | None = None
    """The server's at that time; None: it was not loaded, but is new."""
    changed: bool = field(default=False, compare=False)
    """Whether it is ahead of what is saved."""
    letters: list[DeadLetter] = field(default_factory=list, compare=False)
    """Documents that it has passed by and that are not set aside yet."""
    unsaved: dict[int, int] = field(default_factory=dict, compare=False)
    """Batches of which toggles were delivered since it was saved, and up to which seq."""

    @property
    def begun(self) -> bool:
        """Whether something hangs on it: it has a position, or a past."""
        return self.position is not None or self.past == "wanted"

    def deliver(self, count: int, letters: Sequence[DeadLetter], places: dict[int, int]) -> None:
        """So many documents are done with, these of them as dead letters."""
        self.delivered += count - len(letters)
        self.letters += letters
        self.unsaved |= places
        self.changed = True


async def load(connection: Connection, slot: str) -> Cursor | None:
    """The slot's cursor, if it has one."""
    if (row := await one(connection, LOAD, slot)) is None:
        return None
    publication, lsn, commit_lsn, documents, *rest = row
    return Cursor(slot, publication, None if lsn is None else Position(lsn, commit_lsn, documents), *rest)


async def save(connection: Connection, cursor: Cursor, durable: bool = True) -> None:
    """Write the cursor, the batches and the dead letters, in one transaction; done again, it writes no letter twice. Raise
    CursorMoved where somebody else has written it since, or the server is one that lacks what was written.

    What is not `durable` outlives the listener's end at once, the server's only a moment later; it does not wait for the disk.
    """
    lsn, commit_lsn, documents = cursor.position or (None, 0, 0)
    values = vars(cursor) | {"lsn": lsn, "commit_lsn": commit_lsn, "documents": documents, "me": WRITER}
    values["synchronous"] = None if durable else "off"
    noted = dict(cursor.unsaved)
    values["batch_ids"], values["seqs"] = list(noted), list(noted.values())
    letters = tuple(cursor.letters)
    cursor.changed = not durable
    if letters:
        async with connection.transaction():
            await connection.execute(SET_ASIDE, columns(cursor.slot, letters))
            await write(connection, values)
    else:
        await write(connection, values)
    del cursor.letters[: len(letters)]
    cursor.unsaved = dict(cursor.unsaved.items() - noted.items())


async def write(connection: Connection, values: dict[str, object]) -> None:
    """Write the cursor's row, if it is the one that is known."""
    if (await connection.execute(SAVE.encode(), values)).rowcount != 1:
        raise CursorMoved


async def save_base(connection: Connection, cursor: Cursor) -> None:
    """Write the cursor with a new base, then forget what that sees; what is not forgotten does no harm."""
    await save(connection, cursor)
    await connection.execute(FORGET, {"slot": cursor.slot, "base": cursor.base})


def columns(slot: str, letters: Sequence[DeadLetter]) -> dict[str, object]:
    """Dead letters as SET_ASIDE takes them."""
    return {
        "slot": slot,
        "documents": [letter.document.decode() for letter in letters],
        "ids": [letter.webhook_id for letter in letters],
        "statuses": [letter.status for letter in letters],
        "answers": [letter.answer for letter in letters],
    }
