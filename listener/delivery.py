"""Delivers documents to the webhook, in order: each is accepted, or set aside as a dead letter, before a later one is.

What an answer means is decided in webhook.py; here is what follows from it: try again, send less, find the document that is
refused, or wait for somebody to mend the receiver. There is one call at a time.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random, SystemRandom
from typing import NamedTuple, Protocol

from listener.cursor import DeadLetter
from listener.errors import NotAccepted, PoisonDocument
from listener.log import Level, say
from listener.toggles import body, fitting
from listener.webhook import Answer, Call, Verdict, Webhook, wait_for

RUN = 10
"""So many documents refused one after the other, and none accepted, say more of the receiver than of the documents."""

TRIES = 5
"""How often a call of a replay is made."""

WAITS = {
    Verdict.RETRY: (Level.WARNING, "not delivered, to be tried again"),
    Verdict.ENDPOINT: (Level.ERROR, "the receiver refuses every call: mend it, or the URL"),
}
"""What is said when the call itself is to be made again."""

Record = Callable[[int, Sequence[DeadLetter]], Awaitable[None]]
"""Takes note that the next so many documents are done with, these of them as dead letters, before anything else is posted."""


class Keeper(Protocol):
    """Whoever has the slot, and so the right to post."""

    async def hold(self) -> None:
        """Return when the slot is certainly held, or when stopping."""

    def answered(self, outcome: "Outcome") -> None:
        """Take note of an answer."""


class Outcome(NamedTuple):
    """The last answer to a call, how long it took in seconds, and how many documents the call had."""

    answer: Answer
    seconds: float
    documents: int


@dataclass(frozen=True)
class Posting:
    """Where and how to post: the limits are of one call, the timeout is in seconds."""

    url: str
    secrets: Sequence[bytes]
    compress: bool
    timeout: float
    max_documents: int
    max_bytes: int


class Policy(NamedTuple):
    """The largest body, whether to stop at a document that is refused for good, and whether it is a replay: what is posted again
    on somebody's wish is given up after a few tries, and whatever is refused of it by itself is at fault, however much it is."""

    most_bytes: int
    stop_on_poison: bool = False
    replay: bool = False


class Delivery:
    """Posts to one webhook until `stopping` is set; `most_bytes` shrinks when the receiver finds a body too large."""

    def __init__(self, webhook: Webhook, policy: Policy, stopping: asyncio.Event, keeper: Keeper) -> None:
        self.most_bytes = policy.most_bytes
        self.calling = False
        self._webhook = webhook
        self._policy = policy
        self._stopping = stopping
        self._keeper = keeper
        self._random: Random = SystemRandom()
        self._pause: float | None = None
        self._refused = 0

    async def deliver(self, documents: Sequence[bytes], record: Record) -> None:
        """Return when all are done with, or when stopping."""
        part = documents
        while part and not self._stopping.is_set():
            documents = documents[await self._work_through(part, record) :]
            part = documents[: fitting(documents, len(documents), self.most_bytes)]

    async def _work_through(self, documents: Sequence[bytes], record: Record) -> int:
        """Post all, in smaller parts where they are refused; return how many are done with."""
        parts = [documents]
        suspects: list[DeadLetter] = []
        done = 0
        while parts and not self._stopping.is_set():
            part = parts.pop()
            call = Call.of(body(part), self._policy.replay)
            outcome = await self._post(call, len(part))
            if outcome is None:
                return done
            if outcome.answer.verdict is Verdict.DELIVERED:
                done += await self._settle(record, suspects, len(part))
                self._told(Level.INFO, "delivered", call, len(part), outcome)
                suspects = []
            elif len(part) == 1:
                if await self._suspect(part[0], call, outcome, suspects):
                    return done
            elif outcome.answer.verdict is Verdict.TOO_LARGE:
                self.most_bytes = min(self.most_bytes, len(call.body) // 2)
                self._told(Level.WARNING, "too large, to be tried in smaller calls", call, len(part), outcome)
                parts = []
            else:
                self._told(Level.WARNING, "refused, to be tried in halves", call, len(part), outcome)
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
        if suspects and not parts:
            done += await self._settle(record, suspects, 0)
        return done

    async def _post(self, call: Call, count: int) -> Outcome | None:
        """Post until the answer is about the documents: for ever, because only the receiver can end it. None when stopping."""
        loop = asyncio.get_running_loop()
        for tries in itertools.count(1):
            await self._keeper.hold()
            if self._stopping.is_set():
                return None
            began = loop.time()
            self.calling = True
            answer = await self._webhook.post(call)
            self.calling = False
            outcome = Outcome(answer, loop.time() - began, count)
            self._keeper.answered(outcome)
            if answer.verdict not in WAITS:
                return outcome
            if tries == TRIES and self._policy.replay:
                raise NotAccepted(f"{NotAccepted()} ({answer})")
            self._pause = wait_for(answer, self._pause, self._random)
            level, message = WAITS[answer.verdict]
            self._told(level, message, call, count, outcome, wait=round(self._pause, 1))
            if await happened(self._stopping, self._pause):
                break
        return None

    async def _settle(self, record: Record, suspects: Sequence[DeadLetter], accepted: int) -> int:
        await record(len(suspects) + accepted, suspects)
        if accepted:
            self._pause, self._refused = None, 0
        return len(suspects) + accepted

    async def _suspect(self, document: bytes, call: Call, outcome: Outcome, suspects: list[DeadLetter]) -> bool:
        """A document is refused by itself; return whether the receiver is to blame, after the wait that this calls for."""
        answer = outcome.answer
        self._refused += 1
        if self._refused >= RUN and not self._policy.replay:
            self._pause = wait_for(answer, self._pause, self._random)
            say_it = "the receiver refuses every document: mend it, or the URL"
            self._told(Level.ERROR, say_it, call, 1, outcome, wait=round(self._pause, 1))
            await happened(self._stopping, self._pause)
            return True
        self._told(Level.WARNING, "refused by itself", call, 1, outcome)
        if self._policy.stop_on_poison:
            raise PoisonDocument(f"{PoisonDocument()} (Call {call.id}: {answer}. {answer.text})")
        suspects.append(DeadLetter(document, call.id, answer.status or 0, f"{answer} {answer.text}".strip()))
        return False

    def _told(self, level: Level, message: str, call: Call, count: int, outcome: Outcome, **fields: object) -> None:
        """The one line of a call."""
        milliseconds = round(outcome.seconds * 1000)
        say(
            level, message, documents=count, bytes=len(call.body), milliseconds=milliseconds, answer=str(outcome.answer),
            webhook_id=call.id, **fields,
        )  # fmt: skip


async def happened(event: asyncio.Event, within: float) -> bool:
    """Wait for an event for so many seconds; return whether it happened."""
    try:
        async with asyncio.timeout(within):
            return await event.wait()
    except TimeoutError:
        return False
