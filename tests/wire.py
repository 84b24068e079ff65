"""What PostgreSQL would send, byte by byte as its manual has it; shares nothing with the decoder that it judges."""

from collections.abc import Sequence

COLUMNS = (
    "seq", "batch_id", "user_id", "occurred_at", "event_id", "vendor", "segment_name", "value", "remove", "outcome",
    "previous_event_id", "previous_occurred_at", "previous_value",
)  # fmt: skip
"""The columns that are published, in their order."""


def number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big", signed=value < 0)


def string(text: str) -> bytes:
    return text.encode() + b"\0"


def keepalive_frame(wal_end: int, time: int, reply: int) -> bytes:
    return b"k" + number(wal_end, 8) + number(time, 8) + number(reply, 1)


def begin(commit_lsn: int, time: int, xid: int) -> bytes:
    return b"B" + number(commit_lsn, 8) + number(time, 8) + number(xid, 4)


def commit(commit_lsn: int, end_lsn: int, time: int) -> bytes:
    return b"C" + number(0, 1) + number(commit_lsn, 8) + number(end_lsn, 8) + number(time, 8)


def relation(oid: int, schema: str, name: str, columns: Sequence[str]) -> bytes:
    told = [number(n % 2, 1) + string(column) + number(25, 4) + number(-1, 4) for n, column in enumerate(columns)]
    return b"R" + number(oid, 4) + string(schema) + string(name) + b"d" + number(len(columns), 2) + b"".join(told)


def insert(oid: int, values: Sequence[bytes | None]) -> bytes:
    told = [b"n" if value is None else b"t" + number(len(value), 4) + value for value in values]
    return b"I" + number(oid, 4) + b"N" + number(len(values), 2) + b"".join(told)


def frame(message: bytes) -> str:
    """An XLogData frame around a message, as Latin-1."""
    return "w" + "\0" * 24 + message.decode("latin-1")
