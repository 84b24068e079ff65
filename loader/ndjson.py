"""Bytes to lines, lines to rows and rejects: `event.parse` for whole blocks, at a fraction of its cost.

`Lines` cuts a stream of chunks into blocks of whole lines. It holds no more than a chunk and one line of the permitted
length; of a longer one it keeps the first 64 KiB, the length and the digest. `decode` turns a block into rows and
rejects and agrees with `event.parse` on every line. It is faster only because it looks at a block as a whole. A block
that holds anything unusual is cut into smaller ones, in the end into lines for `parse`. Unusual are escapes (any
backslash), tabs, timestamps near a limit, and all that is invalid; fields that the contract does not name are not, but
cost more.

A line ends with LF or CRLF; the carriage return belongs to the line end, also when the source ends right after it. The
last line needs no line end. A line of nothing but JSON white space is ignored: neither row nor reject. Positions are
byte offsets in the source.

Nothing here reads a clock, opens a file or knows a driver.
"""

from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from itertools import accumulate, repeat
from typing import Annotated, NamedTuple

import msgspec

from loader.event import (
    NAMED,
    NAMED_IN_SEGMENT,
    Invalid,
    Limits,
    Reject,
    bucket,
    check_value,
    parse,
    position_bucket,
    reject,
    utc,
)
from loader.rows import Rows

KEPT = 64 * 1024
"""How many bytes of an over-long line a reject holds."""

_FANOUT = 10  # into how many blocks an unusual one is cut
_WHITESPACE = b" \t\r\n"


class Block(NamedTuple):
    """Whole lines with their line ends, which the source's last line may lack."""

    position: int
    data: bytes


class Lines:
    """Cuts a source's chunks into blocks of whole lines, none longer than `longest` bytes without its line end.

    `position` is the offset after the last whole line returned: where to start when the work is resumed.
    """

    def __init__(self, longest: int, position: int = 0) -> None:
        self.position = position
        self._longest = longest
        self._parts: list[bytes] = []
        self._held = 0
        self._long: _LongLine | None = None

    def feed(self, chunk: bytes) -> list[Block | Reject]:
        """Return what the chunk completes."""
        found: list[Block | Reject] = []
        if self._long:
            chunk = self._skip(self._long, chunk, found)
        end = chunk.rfind(b"\n") + 1
        if end:
            found.extend(self._split(b"".join((*self._parts, chunk[:end]))))
            self._parts, self._held = [], 0
        self._hold(chunk[end:])
        return found

    def finish(self) -> list[Block | Reject]:
        """Return the last line, which has no line end, if there is one; the source has come to its end."""
        data, self._parts, self._held = b"".join(self._parts), [], 0
        if len(data.removesuffix(b"\r")) > self._longest:
            self._long = _LongLine([data])
        if self._long:
            return [self._reject(self._long, 0)]
        return [self._block(data)] if data else []

    def _hold(self, part: bytes) -> None:
        """Keep an unfinished line, or start to skip it when it is too long even if its last byte is a CR."""
        if not part:
            return
        self._parts.append(part)
        self._held += len(part)
        if self._held > self._longest + 1:
            self._long = _LongLine(self._parts)
            self._parts, self._held = [], 0

    def _skip(self, long: "_LongLine", chunk: bytes, found: list[Block | Reject]) -> bytes:
        """Return what follows the over-long line in the chunk."""
        end = chunk.find(b"\n")
        if end < 0:
            long.add(chunk)
            return b""
        long.add(chunk[:end])
        found.append(self._reject(long, 1))
        return chunk[end + 1 :]

    def _split(self, data: bytes) -> Iterator[Block | Reject]:
        """Cut over-long lines out of whole lines, looking at one line end in every `longest` bytes."""
        start = at = 0
        while len(data) - at > self._longest + 1:
            newline = self._reach(data, at)
            if newline < 0:
                newline = data.index(b"\n", at)
                if at > start:
                    yield self._block(data[start:at])
                yield self._reject(_LongLine([data[at:newline]]), 1)
                start = newline + 1
            at = newline + 1
        if start < len(data):
            yield self._block(data[start:])

    def _reach(self, data: bytes, start: int) -> int:
        """Return a line end such that no line from `start` up to it is too long; -1: the first one is."""
        reach = start + self._longest
        return reach + 1 if data.startswith(b"\r\n", reach) else data.rfind(b"\n", start, reach + 1)

    def _block(self, data: bytes) -> Block:
        block = Block(self.position, data)
        self.position += len(data)
        return block

    def _reject(self, long: "_LongLine", newline: int) -> Reject:
        """Return the reject of an over-long line that ends here, with or without a newline."""
        self._long = None
        reject = long.reject(self.position, self._longest)
        self.position += long.size + newline
        return reject


class _LongLine:
    """What is kept of a line that is too long: its beginning, its length, its digest."""

    def __init__(self, parts: list[bytes]) -> None:
        self.size = 0
        self._start = b""
        self._digest = sha256()
        self._return = b""
        for part in parts:
            self.add(part)

    def add(self, part: bytes) -> None:
        """Take the next bytes; a carriage return waits, since it may belong to the line end."""
        self.size += len(part)
        part = self._return + part
        self._return = part[-1:] if part.endswith(b"\r") else b""
        part = part[: len(part) - len(self._return)]
        self._start += part[: KEPT - len(self._start)]
        self._digest.update(part)

    def reject(self, position: int, longest: int) -> Reject:
        length = self.size - len(self._return)
        digest = self._digest.digest() if length > len(self._start) else None
        reason = f"the line has {length} bytes; at most {longest} are accepted"
        return Reject(position, position_bucket(position), self._start, length, digest, "too_long", reason)


class _Segment(msgspec.Struct, gc=False):
    vendor: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]


class _NamedSegment(_Segment, gc=False, forbid_unknown_fields=True):
    pass


class _Event(msgspec.Struct, gc=False):
    """An event whose lines hold no backslash: a value of that is none."""

    event: Annotated[str, msgspec.Meta(min_length=36, max_length=36)]
    timestamp: str
    user: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    segment: _Segment
    value: str = "\\N"
    remove: bool | msgspec.UnsetType = msgspec.UNSET


class _NamedEvent(_Event, gc=False, forbid_unknown_fields=True):
    segment: _NamedSegment


_EVENTS = msgspec.json.Decoder(list[_Event])
_NAMED_EVENTS = msgspec.json.Decoder(list[_NamedEvent])
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_REMOVE: dict[object, str] = {msgspec.UNSET: "f", True: "t"}

_HEX = bytes.maketrans(b"123456789abcdefABCDEF", b"0" * 21)
_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_ID = b"00000000-0000-0000-0000-000000000000"
_DAY = len("0000-00-00")
_SECOND = len("0000-00-00T00:00:00")
_STAMPS = frozenset((b"0000-00-00T00:00:00Z", *(b"0000-00-00T00:00:00.%bZ" % (b"0" * n) for n in range(1, 7))))
# The quotes of an event: of its keys and its strings.
_QUOTES, _SEGMENT_QUOTES, _VALUE_QUOTES, _REMOVE_QUOTES = 20, 6, 4, 2


class _Unusual(Exception):  # noqa: N818 - no error: it is for a slower way to judge
    """The block is not one that can be judged as a whole."""


_SUSPECT = (_Unusual, Invalid, msgspec.DecodeError, ValueError, KeyError, RecursionError)


def decode(block: Block, limits: Limits) -> tuple[Rows, list[Reject]]:
    """Return the block's rows and rejects, each in the order of its lines."""
    rows = Rows()
    rejects: list[Reject] = []
    _decode(block, limits, rows, rejects)
    return rows, rejects


def _decode(block: Block, limits: Limits, rows: Rows, rejects: list[Reject]) -> None:
    lines = block.data.removesuffix(b"\n").split(b"\n")
    if len(lines) == 1:
        _parse(lines[0].removesuffix(b"\r"), block.position, limits, rows, rejects)
        return
    if b"\\" not in block.data:
        for named in (True, False):
            with suppress(*_SUSPECT):
                rows.extend(_rows(block, lines, named, limits))
                return
    for part in _parts(block.position, lines):
        _decode(part, limits, rows, rejects)


def _parse(line: bytes, position: int, limits: Limits, rows: Rows, rejects: list[Reject]) -> None:
    if not line.strip(_WHITESPACE):
        return
    try:
        rows.append(parse(line, position, limits))
    except Invalid as invalid:
        rejects.append(reject(line, position, invalid))


def _parts(position: int, lines: list[bytes]) -> Iterator[Block]:
    size = -(-len(lines) // _FANOUT)
    for start in range(0, len(lines), size):
        data = b"\n".join(lines[start : start + size]) + b"\n"
        yield Block(position, data)
        position += len(data)


def _rows(block: Block, lines: list[bytes], named: bool, limits: Limits) -> Rows:
    """Return the rows of a block of valid lines without escapes, or raise one of _SUSPECT.

    The lines are read as items of one array. Where events hold no arrays, a comma before a brace separates two of them: so,
    when every line begins with a brace, none is part of an event, and when there are as many events as lines, each line is
    one. Where they may hold arrays, `_extras` reads every line by itself.
    """
    if named and block.data.count(b"\n{") + block.data.startswith(b"{") != len(lines):
        raise _Unusual
    listed = b"[%b]" % b",".join(lines)
    events = (_NAMED_EVENTS if named else _EVENTS).decode(listed)
    if len(events) != len(lines):
        raise _Unusual
    extras, quotes = (repeat("\\N"), 0) if named else _extras(listed, lines)
    _check_quotes(block.data, events, quotes)
    _check_ids([event.event for event in events])
    stamps = _stamps([event.timestamp for event in events])
    seconds = {stamp[:_SECOND] for stamp in stamps}
    _check_times(seconds, limits)
    users = "\n".join([event.user for event in events]).encode().split(b"\n")
    copies = "".join(
        [
            f"{e.user}\t{stamp}\t{e.event}\t{e.segment.vendor}\t{e.segment.name}\t{e.value}\t{_REMOVE[e.remove]}\t{extra}\n"
            for e, stamp, extra in zip(events, stamps, extras, strict=False)
        ]
    )
    positions = array("q", accumulate([len(line) + 1 for line in lines[:-1]], initial=block.position))
    if b"\r" in block.data:
        lines = [line.removesuffix(b"\r") for line in lines]
    return Rows(
        positions,
        bytearray(map(bucket, users)),
        users,
        copies.encode().splitlines(keepends=True),
        lines,
        {second[:_DAY] for second in seconds},
    )


def _check_quotes(data: bytes, events: Sequence[_Event], others: int) -> None:
    """Find duplicate keys: they are the only quotes beyond those of the fields found and `others`."""
    values = len(events) - [event.value for event in events].count("\\N")
    removes = [event.remove for event in events].count(True)
    if data.count(b'"') != len(events) * _QUOTES + values * _VALUE_QUOTES + removes * _REMOVE_QUOTES + others:
        raise _Unusual
    if values and removes and any(event.remove and event.value != "\\N" for event in events):
        raise _Unusual


def _check_ids(ids: list[str]) -> None:
    if "".join(ids).encode().translate(_HEX) != _ID * len(ids):
        raise _Unusual


def _stamps(stamps: list[str]) -> list[str]:
    """Return the timestamps in UTC; most are already. Whether those exist is not checked."""
    text = "\n".join(stamps)
    if "+00:00" in text:
        text = text.replace("+00:00", "Z")
        stamps = text.split("\n")
    shapes = text.encode().translate(_DIGITS).split(b"\n")
    if _STAMPS.issuperset(shapes):
        return stamps
    return [stamp if shape in _STAMPS else utc(stamp)[0] for stamp, shape in zip(stamps, shapes, strict=True)]


def _check_times(seconds: set[str], limits: Limits) -> None:
    """Check that the seconds exist and are within the limits, with a second to spare on both sides.

    Newer Pythons read 24:00 as the next day's midnight, so that being read is not enough.
    """
    if any(datetime.fromisoformat(second).isoformat() != second for second in seconds):
        raise _Unusual
    if max(seconds) >= _second(limits.latest) or (limits.horizon and min(seconds) <= _second(limits.horizon)):
        raise _Unusual


def _second(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()[:_SECOND]


def _extras(listed: bytes, lines: list[bytes]) -> tuple[list[str], int]:
    """Return the column extra of every event, and the quotes of the unnamed fields with their keys."""
    if b"\t" in listed or listed.count(b"\r") != listed.count(b"}\r,{") + listed.endswith(b"}\r]"):
        raise _Unusual
    quotes = 0
    extras = []
    for fields in map(_FIELDS.decode, lines):
        segment = bytes(fields["segment"])
        members, count = _members(fields, NAMED)
        if segment.count(b'"') != _SEGMENT_QUOTES:
            inner, inner_count = _members(_FIELDS.decode(segment), NAMED_IN_SEGMENT)
            members.append(f'"segment":{{{",".join(inner)}}}')
            count += inner_count
        quotes += count
        extras.append(f"{{{','.join(members)}}}" if members else "\\N")
    return extras, quotes


def _members(fields: dict[str, msgspec.Raw], named: frozenset[str]) -> tuple[list[str], int]:
    members = []
    quotes = 0
    for key, raw in fields.items():
        if key in named:
            continue
        value = bytes(raw).decode()
        if "{" in value or "[" in value:
            check_value(value)
        quotes += 2 + value.count('"')
        members.append(f'"{key}":{value}')
    return members, quotes
