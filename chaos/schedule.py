"""Which faults happen when: a function of the seed and of how long the run is, and of nothing else.

The faults of a track come one after the other, those of different tracks at the same time. A track has those faults together that
would make each other meaningless: a migration while there is no server, a receiver that hangs while it is down. Each track draws
its kinds like cards, so that every kind comes before one comes again: all of them in two minutes.
"""

from collections.abc import Iterator
from random import Random
from typing import Final, NamedTuple

CALM: Final = 5.0
"""Seconds without a new fault at the end, in which what was hit last begins to recover."""


class Fault(NamedTuple):
    """What happens, from when on and for how long (seconds); `chance`, from 0 to 1, decides what the kind leaves open."""

    at: float
    kind: str
    seconds: float
    chance: float


class Track(NamedTuple):
    """Kinds of faults, how long they last, and the pauses between them: the least and the most, in seconds."""

    kinds: tuple[str, ...]
    lasts: tuple[float, float]
    pauses: tuple[float, float]


TRACKS: Final = {
    "receiver": Track(
        (
            "receiver down", "receiver slow", "receiver hanging", "receiver failing", "answers reset", "receiver busy (429)",
            "receiver redirecting", "receiver's clock jumped", "documents refused",
        ),
        lasts=(2.0, 5.0),
        pauses=(2.0, 6.0),
    ),
    "server": Track(
        (
            "PostgreSQL stopped fast", "PostgreSQL stopped immediate", "PostgreSQL killed", "backend killed", "sessions ended",
            "slot invalidated", "disk full", "migration",
        ),
        lasts=(0.5, 4.0),
        pauses=(4.0, 8.0),
    ),
    "processes": Track(
        (
            "loader killed", "piped loader killed", "listener killed", "export killed", "loader stopped", "listener stopped",
            "export stopped", "events redelivered", "listener killed",  # as often again: few of its calls may come twice then
        ),
        lasts=(0.1, 1.0),
        pauses=(2.5, 5.0),
    ),
    "files": Track(("batch loader killed",), lasts=(0.0, 0.5), pauses=(6.0, 14.0)),
    "building": Track(("dbt build",), lasts=(15.0, 20.0), pauses=(10.0, 20.0)),
}  # fmt: skip

KINDS: Final = tuple(kind for track in TRACKS.values() for kind in track.kinds)


def plan(seed: int, seconds: float) -> dict[str, list[Fault]]:
    """The faults of each track, in order."""
    return {name: list(faults(Random(f"{seed} {name}"), track, seconds)) for name, track in TRACKS.items()}  # noqa: S311


def faults(random: Random, track: Track, seconds: float) -> Iterator[Fault]:
    """Yield a track's faults until the run is about to end."""
    at = 0.0
    for kind in cards(random, track.kinds):
        at += random.uniform(*track.pauses)
        fault = Fault(at, kind, random.uniform(*track.lasts), random.random())
        at += fault.seconds
        if at > seconds - CALM:
            return
        yield fault


def cards(random: Random, kinds: tuple[str, ...]) -> Iterator[str]:
    """Yield kinds without end, deck after deck, each shuffled anew."""
    while True:
        yield from random.sample(kinds, len(kinds))
