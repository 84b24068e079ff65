"""Finds a file again that was rotated, and those that came after it.

A file is known by its first bytes, so that its name does not matter, nor whether it was compressed. What came after it is known
by its name, as logrotate and others make it from that of the path, and by its time. Files are opened one at a time and judged by
what was opened: names move while one looks.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from typing import NamedTuple, cast

from loader.compressed import COMPRESSIONS
from loader.database import Connection
from loader.errors import BadSource
from loader.growing import look
from loader.source import FINGERPRINT, CompressedSource, Source, open_source, read_positions

RECORD = "select fingerprint, fingerprint_length from segment_sources where source = %s and fingerprint is not null"

ROTATED = rf"[.-]\d[\d.:T_-]*({'|'.join(re.escape(compression.ending) for compression in COMPRESSIONS)})?"
"""What the name of a rotated file has beyond that of the path: .1, .2.gz, -20260131, .2026-01-31_12, …"""

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


def differs(before: Source | None, _: str, source: Source) -> Fit | None:
    """Rank a file that is another than the one that was finished."""
    same = before and os.path.samestat(os.fstat(before.descriptor), os.fstat(source.descriptor))
    return None if same else ()


def succeeds(before: Source, path: str, source: Source) -> Fit | None:
    """Rank a rotated file that may come after the one that was finished: the oldest that is newer and no copy of it."""
    last, found = os.fstat(before.descriptor), os.fstat(source.descriptor)
    if differs(before, path, source) is None or found.st_mtime_ns < last.st_mtime_ns:
        return None
    if before.read(0, FINGERPRINT).startswith(source.read(0, FINGERPRINT)) and source.size <= before.size:
        return None
    return -found.st_mtime_ns, len(path), *os.fsencode(path)  # within one tick of the clock, .2 is older than .1


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


def beside(path: str, pattern: str) -> list[str]:
    """The files in the path's folder whose names are of this pattern."""
    with suppress(OSError), os.scandir(os.path.dirname(path) or ".") as entries:
        return [entry.path for entry in entries if re.fullmatch(pattern, entry.name)]
    return []
