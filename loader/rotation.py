"""Finds a file again that was rotated, and those that came after it.

A file is known by its first bytes, so that its name does not matter, nor whether it was compressed. What came after it is known
by its name, as logrotate and others make it from that of the path, and by its time; by what the name says of its age where times
are the same. Files are opened one at a time and judged by what was opened: names move while one looks.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from functools import partial
from typing import NamedTuple, cast

from loader.compressed import COMPRESSIONS
from loader.database import Connection
from loader.errors import BadSource
from loader.growing import look
from loader.source import FINGERPRINT, CompressedSource, Source, open_source, read_positions

RECORD = "select fingerprint, fingerprint_length from segment_sources where source = %s and fingerprint is not null"

ROTATED = rf"[.-]\d[\d.:T_-]*({'|'.join(re.escape(compression.ending) for compression in COMPRESSIONS)})?"
"""What the name of a rotated file has beyond that of the path: .1, .2.gz, -20260131, .2026-01-31_12, …"""

SECOND = 10**9

Fit = tuple[int, ...]
Rank = Callable[[str, Source], Fit | None]
"""How well a file fits, by its path and its bytes; None: not at all."""


class Record(NamedTuple):
    """What the database knows of the file that was read last."""

    fingerprint: bytes
    length: int
    start: int
    furthest: int


def read_record(connection: Connection, name: str) -> Record | None:
    """The record of a source, if it has one."""
    known = connection.execute(RECORD, [name]).fetchone()
    positions = read_positions(connection, name).values()
    return Record(*cast(tuple[bytes, int], known), min(positions), max(positions)) if known and positions else None


def recorded(record: Record, _: str, source: Source) -> Fit | None:
    """Rank a file that may be the recorded one: it is the longest that begins so, and rather not compressed."""
    same = hashlib.sha256(source.read(0, record.length)).digest() == record.fingerprint
    return (not isinstance(source, CompressedSource), source.size) if same and source.size >= record.furthest else None


def differs(before: Source, _: str, source: Source) -> Fit | None:
    """Rank a file that is another than the one that was finished."""
    return None if os.path.samestat(os.fstat(before.descriptor), os.fstat(source.descriptor)) else ()


def succeeds(before: Source, of: str, path: str, source: Source) -> Fit | None:
    """Rank a rotated file of a path that may come after the one that was finished: the oldest that is newer and no copy of it."""
    last, found = modified(before), modified(source)
    if last % SECOND == 0 or found % SECOND == 0:  # whoever copied or compressed it kept no more than that
        last, found = last // SECOND, found // SECOND
    if differs(before, path, source) is None or found < last or is_copy(before, source):
        return None
    if found == last and (name := find_name(before, of)) and age(path, of) >= age(name, of):
        return None
    return -modified(source), *age(path, of)


def modified(source: Source) -> int:
    """When the file was written to, in nanoseconds."""
    return os.fstat(source.descriptor).st_mtime_ns


def is_copy(before: Source, source: Source) -> bool:
    """Whether the file is one that was finished, as far as it goes."""
    return before.read(0, FINGERPRINT).startswith(source.read(0, FINGERPRINT)) and source.size <= before.size


def find_name(before: Source, of: str) -> str | None:
    """The name that a finished file has now among the rotated ones of a path, or a whole copy of it."""
    with ExitStack() as stack:
        found = best(rotated(of), before.name, partial(same, before), stack)
        return found[0] if found else None


def same(before: Source, path: str, source: Source) -> Fit | None:
    """Rank a file that is the one that was finished, or holds the same."""
    if differs(before, path, source) is None:
        return (1,)
    return (0,) if is_copy(before, source) and source.size == before.size else None


def age(path: str, of: str) -> Fit:
    """What the name of a rotated file says, more for an older one: .2 is older than .1, -20260131 older than -20260201."""
    numbers = re.findall(r"\d+", os.path.basename(path).removeprefix(os.path.basename(of)))
    if len(numbers) == 1 and len(numbers[0]) < len("2026"):
        return (int(numbers[0]),)
    return *(-int(number) for number in numbers), 0


def best(paths: Iterable[str], name: str, rank: Rank, stack: ExitStack) -> tuple[str, Source] | None:
    """Open the file that ranks highest, under the source's name, until the stack is closed; one that cannot be read is none."""
    found: tuple[Fit, str, Source] | None = None
    with ExitStack() as kept:
        for path in filter(look, paths):
            with ExitStack() as tried, suppress(BadSource):
                source = tried.enter_context(open_source(path, name))
                fit = rank(path, source)
                if fit is not None and (found is None or fit > found[0]):
                    kept.close()
                    kept.push(tried.pop_all())
                    found = fit, path, source
        if found:
            stack.push(kept.pop_all())
    return found[1:] if found else None


def rotated(path: str) -> list[str]:
    """The rotated files of a path."""
    return beside(path, re.escape(os.path.basename(path)) + ROTATED)


def beside(path: str, pattern: str) -> list[str]:
    """The files in the path's folder whose names are of this pattern."""
    with suppress(OSError), os.scandir(os.path.dirname(path) or ".") as entries:
        return [entry.path for entry in entries if re.fullmatch(pattern, entry.name)]
    return []
