"""PostgreSQL's logical replication protocol, version 1: bytes to messages and back. Pure; bad bytes raise BadMessage.

Source: https://www.postgresql.org/docs/current/protocol-replication.html and protocol-logicalrep-message-formats.html. Numbers
are big-endian; an LSN is a byte position in the log; times are microseconds since 2000-01-01 UTC. Only what a publication of
inserts sends is known here; values are in text form, and there are no streamed (unfinished) transactions.
"""

import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import NamedTuple

from listener.errors import BadMessage

XLOG_DATA = b"w"
KEEPALIVE = b"k"
INSERT = b"I"
PAYLOAD = 25
"""Where an XLogData frame's message begins."""

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

_KEEPALIVE = Struct(">cQq?")
_STATUS = Struct(">cQQQq?")
_BEGIN = Struct(">cQqI")
_COMMIT = Struct(">cBQQq")
_RELATION = Struct(">cI")
_COLUMN = Struct(">Ii")
_INSERT = Struct(">cIcH")
_SHORT = Struct(">H")
_LENGTH = Struct(">I")

_NULL, _TEXT = b"nt"
_IGNORED = b"OYM"  # Origin, Type, Message


class Keepalive(NamedTuple):
    """The server is alive, has sent everything up to `wal_end`, and may want an answer at once."""

    wal_end: int
    reply_requested: bool


class Begin(NamedTuple):
    """What follows, up to Commit, is the transaction that commits at `commit_lsn`."""

    commit_lsn: int
    committed_at: datetime
    xid: int


class Commit(NamedTuple):
    """The transaction is complete; `end_lsn` is the position to acknowledge."""

    commit_lsn: int
    end_lsn: int
    committed_at: datetime


class Relation(NamedTuple):
    """The columns of a table, sent before its first row and again when they have changed."""

    oid: int
    schema: str
    name: str
    columns: tuple[str, ...]


class Insert(NamedTuple):
    """A new row: each column's text form, or None."""

    oid: int
    values: tuple[bytes | None, ...]


Message = Begin | Commit | Relation | Insert | None


def keepalive(frame: bytes) -> Keepalive:
    """A keepalive frame, tag included."""
    try:
        _, wal_end, _, reply_requested = _KEEPALIVE.unpack(frame)
    except struct.error:
        raise BadMessage from None
    return Keepalive(wal_end, reply_requested)


def status_update(written: int, flushed: int, now: datetime, *, reply_requested: bool = False) -> bytes:
    """The frame that tells the server how far we are: received up to `written`, delivered up to `flushed` (0: not said)."""
    return _STATUS.pack(b"r", written, flushed, 0, (now - EPOCH) // timedelta(microseconds=1), reply_requested)


def decode(message: bytes) -> Message:
    """The message in an XLogData frame, without the frame's head; None for one that says nothing about rows."""
    try:
        return _DECODERS[message[0]](message)
    except (KeyError, IndexError, struct.error, UnicodeDecodeError, OverflowError, ValueError):
        raise BadMessage from None


def _begin(message: bytes) -> Begin:
    _, commit_lsn, microseconds, xid = _BEGIN.unpack(message)
    return Begin(commit_lsn, EPOCH + timedelta(microseconds=microseconds), xid)


def _commit(message: bytes) -> Commit:
    _, _, commit_lsn, end_lsn, microseconds = _COMMIT.unpack(message)
    return Commit(commit_lsn, end_lsn, EPOCH + timedelta(microseconds=microseconds))


def _relation(message: bytes) -> Relation:
    _, oid = _RELATION.unpack_from(message)
    schema, at = _string(message, _RELATION.size)
    name, at = _string(message, at)
    (count,) = _SHORT.unpack_from(message, at + 1)
    at += 1 + _SHORT.size
    columns = []
    for _ in range(count):
        column, at = _string(message, at + 1)
        _COLUMN.unpack_from(message, at)
        at += _COLUMN.size
        columns.append(column)
    _expect_end(message, at)
    return Relation(oid, schema, name, tuple(columns))


def _string(message: bytes, at: int) -> tuple[str, int]:
    """A string that ends with a zero byte, and where the next field begins."""
    end = message.index(0, at)
    return message[at:end].decode(), end + 1


def _insert(message: bytes) -> Insert:
    _, oid, kind, count = _INSERT.unpack_from(message)
    if kind != b"N":
        raise BadMessage
    return Insert(oid, tuple(_values(message, _INSERT.size, count)))


def _values(message: bytes, at: int, count: int) -> Iterator[bytes | None]:
    for _ in range(count):
        kind = message[at]
        if kind == _TEXT:
            (length,) = _LENGTH.unpack_from(message, at + 1)
            start, at = at + 5, at + 5 + length
            if at > len(message):
                raise BadMessage
            yield message[start:at]
        elif kind == _NULL:
            at += 1
            yield None
        else:
            raise BadMessage  # binary was not asked for; "unchanged" exists in updates only
    _expect_end(message, at)


def _expect_end(message: bytes, at: int) -> None:
    if at != len(message):
        raise BadMessage


def _ignore(_message: bytes) -> None:
    return None


_DECODERS: dict[int, Callable[[bytes], Message]] = {
    ord("B"): _begin,
    ord("C"): _commit,
    ord("R"): _relation,
    ord(INSERT): _insert,
    **dict.fromkeys(_IGNORED, _ignore),
}
