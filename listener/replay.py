"""Toggles posted again on somebody's wish, beside the listener: no cursor moves, and each call is marked as a replay."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from listener.cursor import DeadLetter
from listener.database import Database, only
from listener.delivery import Delivery, Outcome, Policy, Posting
from listener.log import Level, say
from listener.past import ROWS, Selection, batches, pages, recorded
from listener.webhook import Webhook

NOW = "select pg_current_snapshot()::text"


class Beside:
    """A keeper without a slot: may post at any time."""

    async def hold(self) -> None:
        """Return at once."""

    def answered(self, outcome: Outcome) -> None:
        """Take no note."""


@dataclass
class Tally:
    """How many documents were accepted, how many refused for good, and whether it was told to stop before the others."""

    accepted: int = 0
    refused: int = 0
    stopped: bool = False

    async def record(self, count: int, letters: Sequence[DeadLetter]) -> None:
        """Count them, and say which were refused."""
        self.accepted += count - len(letters)
        self.refused += len(letters)
        for letter in letters:
            say(Level.WARNING, "refused", event=json.loads(letter.document)["event"], answer=letter.answer)


async def now(database: Database) -> str:
    """A snapshot of this moment: what it sees is what is replayed."""
    (snapshot,) = await database.run(lambda c: only(c, NOW))
    return str(snapshot)


async def replay(
    database: Database, posting: Posting, selection: Selection, with_outcome: bool, stopping: asyncio.Event
) -> Tally:
    """Post the toggles that are selected, in the order in which they were recorded; raise NotAccepted if the receiver is away."""
    tally = Tally()
    async with Webhook(posting.url, posting.secrets, posting.compress, posting.timeout) as webhook:
        delivery = Delivery(webhook, Policy(posting.max_bytes, replay=True), stopping, Beside())
        cut = batches(pages(database, selection), with_outcome, posting.max_documents, delivery)
        async with aclosing(cut) as found:
            async for batch in found:
                await delivery.deliver([each.document for each in batch], tally.record)
                if stopping.is_set():
                    tally.stopped = True
                    break
    return tally


async def documents(database: Database, selection: Selection, with_outcome: bool) -> AsyncIterator[bytes]:
    """What `replay` would post."""
    async for page in pages(database, selection):
        for first in range(0, page.ntuples, ROWS):
            for each in recorded(page, range(first, min(first + ROWS, page.ntuples)), with_outcome):
                yield each.document
