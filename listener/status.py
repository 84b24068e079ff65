"""What `listener status` tells: each slot, how far behind it is, and what its receiver said last."""

import asyncio
from datetime import datetime
from typing import NamedTuple

from listener.database import Connection, check_server, only
from listener.past import OUTCOMES, WANTED

PATIENCE = 2.0
"""Seconds in which a listener that has nothing to do acknowledges what was written just now."""

POLL = 0.05

SLOTS = """
select slot_name from pg_replication_slots
where plugin = 'pgoutput' and database = current_database() and slot_name not in (select slot from webhook_cursors)
union all select slot from webhook_cursors
order by 1
"""

STATUS = """
select
  n.slot, c.publication, s.slot_name is not null, s.active_pid, s.wal_status, s.safe_wal_size,
  (pg_current_wal_lsn() - greatest(s.confirmed_flush_lsn, c.lsn))::bigint, c.committed_at, coalesce(c.past = 'begun', false),
  coalesce(c.delivered, 0), c.called_at, c.answer, coalesce(c.wanted, '{}'),
  (select count(*) from webhook_dead_letters d where d.slot = n.slot)
from (select %s::text as slot) n
left join pg_replication_slots s on s.slot_name = n.slot
left join webhook_cursors c on c.slot = n.slot
"""

WRITTEN = "select (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint"

CONFIRMED = """
select coalesce(max(confirmed_flush_lsn - '0/0'::pg_lsn) filter (where active), 0)::bigint
from pg_replication_slots where slot_name = %s
"""

BEHIND = f"""
select coalesce(extract(epoch from now() - min(recorded_at)), 0)::float
from segment_outcomes
where recorded_at > coalesce(%(committed_at)s::timestamptz, '-infinity') and outcome = any (%(outcomes)s) and {WANTED}
"""  # noqa: S608 - a condition of our own
"""Seconds since the oldest document was recorded of those after the last delivered commit."""


class Status(NamedTuple):
    """A slot and its cursor; sizes in bytes, `lag_seconds` the age of the oldest undelivered document."""

    slot: str
    publication: str | None
    exists: bool
    active_pid: int | None
    wal_status: str | None
    safe_wal_size: int | None
    lag_bytes: int | None
    lag_seconds: float | None
    caught_up: bool
    delivered: int
    last_call_at: datetime | None
    last_answer: str | None
    only: list[str]
    dead_letters: int


async def statuses(connection: Connection) -> list[Status]:
    """Every slot of this database that a listener has, or could have."""
    await check_server(connection)
    rows = await (await connection.execute(SLOTS.encode())).fetchall()
    return [await status(connection, slot) for (slot,) in rows]


async def status(connection: Connection, slot: str) -> Status:
    """One slot, after giving its listener time to acknowledge what was written until now."""
    acknowledged = await acknowledges(connection, slot)
    slot, publication, exists, pid, wal, safe, lag, committed_at, past, *rest = await only(connection, STATUS, slot)
    caught_up = acknowledged and not past
    seconds: float | None = 0.0
    if not caught_up:
        outcomes = OUTCOMES.get(publication, OUTCOMES["segment_changes"])
        (seconds,) = await only(connection, BEHIND, committed_at=committed_at, outcomes=outcomes, only=rest[-2])
    return Status(slot, publication, exists, pid, wal, safe, lag, seconds, caught_up, *rest)


async def acknowledges(connection: Connection, slot: str) -> bool:
    """Whether everything that is written now is acknowledged in a moment."""
    (written,) = await only(connection, WRITTEN)
    for _ in range(int(PATIENCE / POLL)):
        (confirmed,) = await only(connection, CONFIRMED, slot)
        if confirmed >= written or not confirmed:
            return bool(confirmed)
        await asyncio.sleep(POLL)
    return False


def described(found: Status) -> str:
    """For people: the slot, then a line for each thing to know."""
    lag = "unknown" if found.lag_bytes is None else f"{max(0, found.lag_bytes):,} bytes"
    seconds = "" if found.lag_seconds is None else f", {found.lag_seconds:,.1f} s"
    last = "none" if found.last_call_at is None else f"{found.last_call_at:%Y-%m-%dT%H:%M:%SZ}, {found.last_answer}"
    safe = "" if found.safe_wal_size is None else f", {found.safe_wal_size:,} bytes until it is given up"
    lines = {
        "publication": f"{found.publication or 'unknown'}{', only ' * bool(found.only)}{', '.join(found.only)}",
        "listener": f"process {found.active_pid} of the server streams it" if found.active_pid else "none runs",
        "state": "caught up" if found.caught_up else "behind",
        "lag": "none" if found.caught_up else lag + seconds,
        "log": f"{found.wal_status}{safe}" if found.exists else "there is no slot; the listener makes one when it starts",
        "delivered": f"{found.delivered:,} documents",
        "last call": last,
        "dead letters": f"{found.dead_letters:,}",
    }
    return "\n".join([found.slot, *(f"  {name:<13} {value}" for name, value in lines.items())])
