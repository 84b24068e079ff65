"""Where an event lies: by vendor and by the UTC hour in which it was received, so that late events change no old file.

    events/vendor=3/utc_date=2026-11-23/utc_hour=21/<first seq>-<last seq>-<checksum>.jsonl.gz

Nothing here reads a clock, opens a file or knows a driver.
"""

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

FORMATS = ("jsonl.gz", "parquet")
MARK = "lake.json"
"""The file, at the destination's root, that says whose lake it is."""

UNFINISHED = ".unfinished"
"""The folder, in a local destination, of files that are being written."""

CHECKSUM_DIGITS = 16
_CHECKSUM = re.compile(rf"-([0-9a-f]{{{CHECKSUM_DIGITS}}})\.(?:jsonl\.gz|parquet)$")


class Place(NamedTuple):
    """What the events of one file have in common."""

    vendor: int
    day: str
    """`YYYY-MM-DD`."""
    hour: str
    """`00` to `23`."""


def path(place: Place, first_seq: int, last_seq: int, checksum: bytes, form: str) -> str:
    """The path, below the destination, of a file with these events."""
    folder = f"events/vendor={place.vendor}/utc_date={place.day}/utc_hour={place.hour}"
    return f"{folder}/{first_seq}-{last_seq}-{checksum.hex()[:CHECKSUM_DIGITS]}.{form}"


def checksum_of(name: str) -> str | None:
    """The first digits of the SHA-256 that a file of ours must have; None for a file that is named otherwise."""
    found = _CHECKSUM.search(name)
    return found[1] if found else None


def is_events(name: str) -> bool:
    """Whether the file, by its path below the destination, is one of events: no name in it begins with a dot."""
    return name.endswith((".gz", ".parquet")) and not is_hidden(name)


def is_hidden(name: str) -> bool:
    """Whether a name in the path begins with a dot."""
    return any(part.startswith(".") for part in name.split("/"))


def printable(name: str) -> str:
    """The name on one line, whatever is in it."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)


def ranges(numbers: Iterable[int], most: int) -> list[tuple[int, int]]:
    """At most so many ranges, both ends included, that hold all the numbers and as little else as can be."""
    ordered = sorted(set(numbers))
    if not ordered:
        return []
    holes = [(right - left, left, right) for left, right in pairwise(ordered) if right - left > 1]
    widest = sorted(sorted(holes, reverse=True)[: most - 1], key=lambda hole: hole[1])
    firsts = [ordered[0], *(right for _, _, right in widest)]
    lasts = [*(left for _, left, _ in widest), ordered[-1]]
    return list(zip(firsts, lasts, strict=True))
