"""Which calls may come again for a fault: the one in flight, and with a server that dies those of the last second. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from chaos.faults import Happened


class Excuse(NamedTuple):
    """Seconds before a fault in which calls may have been in vain beside the last one, and after it, for that one to be read."""

    before: float
    after: float


READ: Final = 0.5
"""Seconds from when a call is sent to when the receiver has read it, at most."""

NOTICED: Final = 1.0
"""Seconds in which a listener that lives notices, at most, that its stream has ended."""

SECOND: Final = 1.5
"""README's last second; the fault is noted when it begins."""

TOGETHER: Final = 1.5
"""Seconds between two faults that count as one."""

EXCUSES: Final = {
    "listener killed": Excuse(0, READ),
    "receiver down": Excuse(0, READ),
    "PostgreSQL stopped fast": Excuse(0, NOTICED),
    "sessions ended": Excuse(0, NOTICED),
    "slot invalidated": Excuse(0, NOTICED),
    "PostgreSQL stopped immediate": Excuse(SECOND, NOTICED),
    "PostgreSQL killed": Excuse(SECOND, NOTICED),
    "backend killed": Excuse(SECOND, NOTICED),
}


def excused(happened: Sequence[Happened]) -> Iterable[tuple[str, float, float]]:
    """For each fault after which documents may come again its kind, and between which Unix times their call was the last one."""
    for fault in happened:
        if excuse := EXCUSES.get(fault.kind):
            before = SECOND if dies_with_the_slot(fault, happened) else excuse.before
            yield fault.kind, fault.began - before, fault.ended + excuse.after


def dies_with_the_slot(fault: Happened, happened: Sequence[Happened]) -> bool:
    """Whether a listener was killed while the slot was lost."""
    since, until = fault.began - TOGETHER, fault.ended + TOGETHER
    return fault.kind == "listener killed" and any(
        other.kind == "slot invalidated" and other.met(since, until) for other in happened
    )
