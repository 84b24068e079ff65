"""A synthetic stream of segment events: the same bytes for the same arguments, on any machine.

A few segments and users get most of the events, as in life: segment k has the weight (1 + k) ** -1.1 (Zipf), the user's
number is half-normal with a deviation of a tenth of the users. Two events in five restate an earlier one, its user,
segment and whether it adds or removes, under a new id and at the current time; so adds of members and removes of
non-members are common. The events carry the contract's fields in its order, without values and other fields. Values, and what
else real streams bring, come where a share of it is asked for: see `loader.faults`.

All chance comes from `random` and `getrandbits`, whose sequences Python keeps between its versions: of one generator for the
clean stream, and of one more for each kind of what is asked for beside it.
Time comes from `start` and `rate`: nothing here reads a clock or waits; whoever writes the lines paces them.
"""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import cache
from itertools import accumulate, count, islice
from math import cos, log, pi, sqrt
from random import Random

from loader.faults import with_bots, with_faults, with_late, with_values

CHUNK = 1000
"""How many lines come at a time."""

RESTATED = 0.4
RESERVOIR = 20_000

_ZIPF = -1.1
_VENDORS = 10
_SPACING = 1000  # microseconds between events when there is no rate
_SECOND = 1_000_000


def generate(  # noqa: PLR0913 - each names itself: there are only keywords
    *,
    count: int | None,
    segments: int = 500,
    users: int = 10_000,
    adds: float = 0.7,
    start: datetime,
    rate: float | None,
    seed: int,
    bots: float = 0,
    late: float = 0,
    values: float = 0,
    duplicates: float = 0,
    invalid: float = 0,
) -> Iterator[tuple[int, list[bytes]]]:
    r"""Yield chunks of lines, each with the index of its first event: endless when `count` is None.

    A line ends with \n. Event i happens at `start` (an aware datetime) + i / `rate` (events a second), or + i ms when
    `rate` is None; `elapsed` says when that is. `adds` is the share of adds among the events that restate nothing; `bots` and
    `late` are shares of the events, `values` of those that add, `duplicates` and `invalid` of the lines.
    """
    random = Random(seed)  # noqa: S311 - it is to be repeated
    times, changes = _timestamps(start, rate), _changes(random, segments, users, adds)
    if bots:
        changes = with_bots(changes, bots, Random(f"{seed} bots"))  # noqa: S311
    if values:
        changes = with_values(changes, values, Random(f"{seed} values"))  # noqa: S311
    if late:
        times = with_late(times, late, Random(f"{seed} late"))  # noqa: S311
    events = zip(_ids(random), times, changes, strict=True)
    lines: Iterator[bytes] = (f'{{"event":"{id_}","timestamp":"{time}",{change}\n'.encode() for id_, time, change in events)
    if duplicates or invalid:
        lines = with_faults(lines, duplicates, invalid, Random(f"{seed} faults"))  # noqa: S311
    first = 0
    while chunk := list(islice(lines, CHUNK if count is None else min(CHUNK, count - first))):
        yield first, chunk
        first += len(chunk)


def elapsed(index: int, rate: float | None) -> int:
    """Return how many microseconds after the first event an event happens, rounded once, so that nothing drifts."""
    if rate is None:
        return index * _SPACING
    events, seconds = _ratio(rate)
    return (2 * index * seconds * _SECOND + events) // (2 * events)


@cache
def _ratio(rate: float) -> tuple[int, int]:
    """Return the rate as it is written: 0.1 is a tenth."""
    return Fraction(repr(rate)).as_integer_ratio()


def _timestamps(start: datetime, rate: float | None) -> Iterator[str]:
    utc = start.astimezone(UTC).replace(tzinfo=None)
    whole, shift = utc.replace(microsecond=0), utc.microsecond
    shown, prefix = 0, whole.isoformat()
    for index in count():
        second, micro = divmod(shift + elapsed(index, rate), _SECOND)
        if second != shown:
            shown, prefix = second, (whole + timedelta(seconds=second)).isoformat()
        yield f"{prefix}.{micro:06d}Z"


def _ids(random: Random) -> Iterator[str]:
    """Yield random UUIDs of version 4."""
    while True:
        digits = f"{random.getrandbits(128):032x}"
        variant = "89ab"[int(digits[16], 16) & 3]
        yield f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def _changes(random: Random, segments: int, users: int, adds: float) -> Iterator[str]:
    """Yield what events say, from `user` to the end of the object."""
    fresh = _fresh_changes(random, segments, users, adds)
    earlier: list[str] = []
    while True:
        if earlier and random.random() < RESTATED:
            yield earlier[int(random.random() * len(earlier))]
            continue
        change = next(fresh)
        if len(earlier) < RESERVOIR:
            earlier.append(change)
        else:
            earlier[int(random.random() * RESERVOIR)] = change
        yield change


def _fresh_changes(random: Random, segments: int, users: int, adds: float) -> Iterator[str]:
    texts = [f'"segment":{{"vendor":{1 + k % _VENDORS},"name":"seg-{k:X}"}}' for k in range(segments)]
    weights = list(accumulate((1 + k) ** _ZIPF for k in range(segments)))
    deviation = users / 10
    while True:
        user = min(int(_half_normal(random) * deviation), users - 1)
        segment = texts[bisect_right(weights, random.random() * weights[-1], 0, segments - 1)]
        end = "}" if random.random() < adds else ',"remove":true}'
        yield f'"user":"usr-{user:06x}",{segment}{end}'


def _half_normal(random: Random) -> float:
    return sqrt(-2 * log(1 - random.random())) * abs(cos(2 * pi * random.random()))
