"""Dead letters: looked at, posted again, or discarded. One that is accepted, or discarded, is gone; one refused again stays."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from listener.cursor import DeadLetter
from listener.database import Connection, Database, one, only
from listener.delivery import Delivery, Policy, Posting
from listener.errors import NoSuchLetter, Replaying, SeveralSlots
from listener.log import Level, say
from listener.replay import Beside, Tally
from listener.webhook import Webhook

PAGE = 500
"""How many are read at a time."""

COLUMNS = "id, slot, document::text, webhook_id, status, answer, set_aside_at"

SELECTED = "(%(slot)s::text is null or slot = %(slot)s) and (%(numbers)s::bigint[] = '{}' or id = any (%(numbers)s))"

LATEST = f"select {COLUMNS} from webhook_dead_letters where {SELECTED} order by id desc limit %(limit)s"  # noqa: S608 - constants

NEXT = f"""
select {COLUMNS} from webhook_dead_letters
where id > %(after)s and id <= %(newest)s and {SELECTED}
order by id limit {PAGE}
"""  # noqa: S608 - constants

SLOTS = f"select count(distinct slot) from webhook_dead_letters where {SELECTED}"  # noqa: S608 - constants

NEWEST = "select coalesce(max(id), 0) from webhook_dead_letters"

MISSING = f"""
select string_agg(n::text, ', ' order by n) from unnest(%(numbers)s::bigint[]) n
where not exists (select from webhook_dead_letters where id = n and {SELECTED})
"""  # noqa: S608 - constants

REMOVE = "delete from webhook_dead_letters where id = any (%(numbers)s)"

DISCARD = f"delete from webhook_dead_letters where {SELECTED}"  # noqa: S608 - constants

LOCK = "select pg_try_advisory_lock(hashtextextended('pgsegments dead letters', 0))"


class Letter(NamedTuple):
    """A document that was refused for good, as it was posted; `status` and `answer` are what refused it."""

    number: int
    slot: str
    document: str
    webhook_id: str
    status: int | None
    answer: str
    set_aside_at: datetime


class Chosen(NamedTuple):
    """Which dead letters: of these numbers, if there are any, and of this slot, if there is one."""

    numbers: Sequence[int] = ()
    slot: str | None = None

    @property
    def values(self) -> dict[str, object]:
        """As the queries take it."""
        return {"numbers": list(self.numbers), "slot": self.slot}


async def latest(connection: Connection, chosen: Chosen, limit: int) -> list[Letter]:
    """The latest of them, newest first."""
    found = await connection.execute(LATEST.encode(), chosen.values | {"limit": limit})
    return [Letter(*row) for row in await found.fetchall()]


async def check_chosen(connection: Connection, chosen: Chosen) -> None:
    """Raise NoSuchLetter unless every number is one."""
    (missing,) = await only(connection, MISSING, **chosen.values)
    if missing:
        raise NoSuchLetter(f"{NoSuchLetter()} (Not there: {missing}.)")


async def discard(connection: Connection, chosen: Chosen) -> int:
    """Remove them; return how many."""
    await check_chosen(connection, chosen)
    return (await connection.execute(DISCARD.encode(), chosen.values)).rowcount


async def replay(database: Database, posting: Posting, chosen: Chosen, stopping: asyncio.Event) -> Tally:
    """Post them in order of setting aside, whole calls first, and remove what is accepted; raise NotAccepted if the receiver is
    away. Killed between a call and the removal, those of that call come again."""
    if await database.run(lambda c: one(c, LOCK)) != (True,):
        raise Replaying
    await database.run(lambda c: check_chosen(c, chosen))
    if await database.run(lambda c: only(c, SLOTS, **chosen.values)) > (1,):
        raise SeveralSlots
    tally = Tally()
    async with Webhook(posting.url, posting.secrets, posting.compress, posting.timeout) as webhook:
        delivery = Delivery(webhook, Policy(posting.max_bytes, replay=True), stopping, Beside())
        async for page in pages(database, chosen):
            for first in range(0, len(page), posting.max_documents):
                part = [(letter.number, letter.document.encode()) for letter in page[first : first + posting.max_documents]]
                await delivery.deliver([document for _, document in part], partial(done_with, database, tally, iter(part)))
                if stopping.is_set():
                    tally.stopped = True
                    return tally
    return tally


async def pages(database: Database, chosen: Chosen) -> AsyncIterator[list[Letter]]:
    """The chosen ones that there are now, page after page."""
    (newest,) = await database.run(lambda c: only(c, NEWEST))
    values: dict[str, Any] = chosen.values | {"newest": newest, "after": 0}
    while page := [Letter(*row) for row in await database.run(lambda c: rows(c, values))]:
        yield page
        values["after"] = page[-1].number


async def rows(connection: Connection, values: dict[str, object]) -> list[tuple[Any, ...]]:
    """The next ones."""
    return await (await connection.execute(NEXT.encode(), values)).fetchall()


async def done_with(
    database: Database, tally: Tally, waiting: Iterator[tuple[int, bytes]], count: int, letters: Sequence[DeadLetter]
) -> None:
    """The next so many were posted: remove them, but for those that were refused again."""
    refused = {id(letter.document): letter.answer for letter in letters}
    done = list(islice(waiting, count))
    accepted = [number for number, document in done if id(document) not in refused]
    await database.run(lambda c: c.execute(REMOVE.encode(), {"numbers": accepted}))
    for number, document in done:
        if id(document) in refused:
            say(Level.WARNING, "refused again; it stays a dead letter", number=number, answer=refused[id(document)])
    tally.accepted += len(accepted)
    tally.refused += len(letters)
