"""Whether the end of a process is explained by what was done to it. Pure."""

from collections.abc import Sequence
from typing import Final

from chaos.faults import AWAY, Happened
from chaos.program import End

FINITE: Final = ("loader-pipe", "loader-batch")
"""Programs whose input ends; the others run until they are told to stop."""

FULL: Final = "disk full"
MOMENT: Final = 2.0
"""Seconds that a process may take from what befell it to its end."""

YOUNG: Final = 6.0
"""Seconds of age up to which a process may not be listening to SIGTERM yet, which then ends it."""

KILLED, TERMINATED = -9, -15


def unexplained(end: End, happened: Sequence[Happened]) -> str | None:
    """A sentence about an end that should not have been so."""
    if end.traceback:
        return f"{end.name} said a traceback, and at last: {end.said}"
    if is_explained(end, happened):
        return None
    asked = f" after it was {'told to stop' if end.asked == 'stopped' else 'killed'}" if end.asked else " by itself"
    return f"{end.name} ended with {end.code}{asked}, and nothing explains it: {end.said or 'it said nothing'}"


def is_explained(end: End, happened: Sequence[Happened]) -> bool:
    """Whether a process may have ended so."""
    if end.asked == "killed":
        return True
    if end.code == 0:
        return end.asked == "stopped" or end.name in FINITE
    if end.asked == "stopped" and end.code == TERMINATED and end.asked_at - end.began < YOUNG:
        return True
    since = (end.asked_at or end.ended) - MOMENT
    kinds = (*AWAY, FULL) if end.name == "export" else AWAY
    return any(fault.kind in kinds and fault.met(since, end.ended) for fault in happened)
