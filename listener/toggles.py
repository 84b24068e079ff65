"""Rows of segment_outcomes to documents: what the webhook gets, as the contract has it. Pure; bad values raise BadMessage.

A row holds each column's text form as bytes, as a session with datestyle ISO and timezone UTC gives it, from the stream or from a
query. A document is JSON in UTF-8 on one line.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

import msgspec

from listener.errors import BadMessage, BadOnly, ForeignTable
from listener.pgoutput import PAYLOAD, Insert, Relation, decode

TIMESTAMP = re.compile(rb"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d{1,6})?)\+00")
NUMBER = re.compile(r"-?\d{1,19}", re.ASCII)
GREATEST_VENDOR = 2**31 - 1
SECONDS = len("00:00:00")
MICROSECONDS = len("00:00:00.000000")
SEPARATOR = b",\n"
BRACKETS = b"[]\n"

Place = tuple[str, str]
"""A batch's id, and a toggle's seq within it."""

Key = tuple[str, str]
"""A vendor and a segment's name, as Latin-1."""

Read = tuple[bytes, Place, Key]
"""A document, where it was recorded, and what it is about."""


class Row(NamedTuple):
    """What a document needs; the columns of segment_outcomes and of the publications, in their order."""

    seq: bytes
    batch_id: bytes
    user_id: bytes
    occurred_at: bytes
    event_id: bytes
    vendor: bytes
    segment_name: bytes
    value: bytes | None
    remove: bytes
    outcome: bytes
    previous_event_id: bytes | None
    previous_occurred_at: bytes | None
    previous_value: bytes | None


def parse_only(text: str) -> str:
    """What listener run --only takes, in the one form in which it is compared: vendor=3, or segment=3/seg-1F."""
    found = re.fullmatch(r"(?:vendor=0*([1-9]\d{0,9})|segment=0*([1-9]\d{0,9})/(.{1,32}))", text, re.ASCII | re.DOTALL)
    if not found or not utf8(text) or int(found[1] or found[2]) > GREATEST_VENDOR:
        raise BadOnly
    vendor, of, name = found.groups()
    return f"vendor={vendor}" if vendor else f"segment={of}/{name}"


def utf8(text: str) -> bool:
    """Whether all of it was UTF-8 on the command line."""
    try:
        return bool(text.encode())
    except UnicodeEncodeError:
        return False


def passes(only: frozenset[str], key: Key) -> bool:
    """Whether toggles of the key are wanted; `only` is Latin-1, too, and empty where all are."""
    vendor, name = key
    return not only or f"vendor={vendor}" in only or f"segment={vendor}/{name}" in only


def body(documents: Sequence[bytes]) -> bytes:
    """A call's body: a JSON array with one document a line."""
    return BRACKETS[:1] + SEPARATOR.join(documents) + BRACKETS[1:]


def fitting(documents: Sequence[bytes], most_documents: int, most_bytes: int) -> int:
    """How many of the documents fit into one body; at least one, if there is one."""
    first = documents[:most_documents]
    if sum(map(len, first)) + len(SEPARATOR) * len(first) + len(BRACKETS) <= most_bytes:
        return len(first)
    sizes = list(accumulate(map(len, first), initial=len(BRACKETS)))[1:]
    found = bisect_right(range(len(sizes)), most_bytes, key=lambda last: sizes[last] + len(SEPARATOR) * last)
    return found or min(1, len(sizes))


def document(row: Row, with_outcome: bool) -> bytes:
    """The document of any row."""
    if None in row[:7] or None in row[8:10]:
        raise BadMessage  # only the values and the previous event may be missing
    key = b'","user":%b,"segment":{"vendor":%b,"name":%b}' % (quoted(row.user_id), row.vendor, quoted(row.segment_name))
    removes = row.remove == b"t"
    after = b',"outcome":%b' % quoted(row.outcome) if with_outcome else b""
    if row.previous_event_id is not None and row.previous_occurred_at is not None:
        # A status changed, so the event before said the opposite.
        previous = event(row.previous_event_id, row.previous_occurred_at, key, row.previous_value, not removes)
        after += b',"previous":%b}' % previous
    return event(row.event_id, row.occurred_at, key, row.value, removes) + after + b"}"


def event(event_id: bytes, occurred_at: bytes, key: bytes, value: bytes | None, removes: bool) -> bytes:
    """The contract's fields, without the closing brace."""
    fields = b'{"event":"%b","timestamp":"%b%b' % (event_id, timestamp(occurred_at), key)
    if value is not None:
        fields += b',"value":' + quoted(value)
    return fields + b',"remove":true' if removes else fields


def timestamp(text: bytes) -> bytes:
    """RFC 3339 in UTC; a fraction of a second has six digits or is absent."""
    if not TIMESTAMP.fullmatch(text):
        raise BadMessage
    time = text[11:-3]
    return b"%bT%bZ" % (text[:10], time if len(time) in (MICROSECONDS, SECONDS) else time.ljust(MICROSECONDS, b"0"))


def padded(time: str) -> str:
    """A time of which the server left out the zeros at the end of the fraction."""
    return time if len(time) == SECONDS else time.ljust(MICROSECONDS, "0")


def quoted(text: bytes) -> bytes:
    """A JSON string."""
    try:
        return msgspec.json.encode(text.decode())
    except UnicodeDecodeError:
        raise BadMessage from None


# Nearly every row has short strings that JSON takes as they are, and both an event and a previous one: for those one regular
# expression takes the message apart, several times as fast as column by column. It cannot go astray: a value holds no zero byte,
# and every column begins with three. It sees bytes as Latin-1, a character each, because Python puts text together faster.
_NUMBER = r"t\0\0\0.(-?\d{1,19})"
_VENDOR = r"t\0\0\0.(-?\d{1,10})"
_STRING = r't\0\0\0(.)([^\0-\x1f"\\]*)'
_VALUE = rf"(?:n|{_STRING})"
_TIME = r"t\0\0\0.(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d{1,6})?)\+00"
_UUID = r"t\0\0\0\x24(.{36})"
_BOOLEAN = r"t\0\0\0\x01([tf])"
_OUTCOME = r"t\0\0\0.([a-z]+)"
_PLAIN = re.compile(
    rf"I.{{4}}N\0\x0d{_NUMBER}{_NUMBER}{_STRING}{_TIME}{_UUID}{_VENDOR}{_STRING}{_VALUE}{_BOOLEAN}{_OUTCOME}{_UUID}{_TIME}{_VALUE}",
    re.DOTALL | re.ASCII,
)
_REMOVES = {"t": ',"remove":true', "f": ""}
_REMOVED = {"f": ',"remove":true', "t": ""}


def plain_document(frame: str, with_outcome: bool) -> Read | None:
    """What an Insert holds whose columns are Row's and whose strings need no escaping; None for any other."""
    if not (found := _PLAIN.fullmatch(frame, PAYLOAD)):
        return None
    (
        seq, batch_id, user_size, user, day, time, event_id, vendor, name_size, name, value_size, value, remove, outcome,
        previous_id, previous_day, previous_time, previous_size, previous_value,
    ) = found.groups()  # fmt: skip
    if ord(user_size) != len(user) or ord(name_size) != len(name):
        raise BadMessage
    if (value is not None and ord(value_size) != len(value)) or (
        previous_value is not None and ord(previous_size) != len(previous_value)
    ):
        raise BadMessage
    if len(time) != MICROSECONDS:
        time = padded(time)
    if len(previous_time) != MICROSECONDS:
        previous_time = padded(previous_time)
    value = "" if value is None else f',"value":"{value}"'
    previous_value = "" if previous_value is None else f',"value":"{previous_value}"'
    outcome = f',"outcome":"{outcome}"' if with_outcome else ""
    key = f'Z","user":"{user}","segment":{{"vendor":{vendor},"name":"{name}"}}'
    previous = f'{{"event":"{previous_id}","timestamp":"{previous_day}T{previous_time}{key}{previous_value}{_REMOVED[remove]}}}'
    text = f'{{"event":"{event_id}","timestamp":"{day}T{time}{key}{value}{_REMOVES[remove]}{outcome},"previous":{previous}}}'
    return text.encode("latin-1"), (batch_id, seq), (vendor, name)


def reader(relation: Relation, with_outcome: bool) -> Callable[[str], Read]:
    """How to read the frames, as Latin-1, that hold this relation's Insert messages."""
    if not set(Row._fields) <= set(relation.columns):
        raise ForeignTable
    places = [relation.columns.index(name) for name in Row._fields]

    def any_document(frame: str) -> Read:
        insert = decode(frame[PAYLOAD:].encode("latin-1"))
        if not isinstance(insert, Insert) or insert.oid != relation.oid or len(insert.values) != len(relation.columns):
            raise BadMessage
        row = Row(*(insert.values[place] for place in places))  # type: ignore[arg-type]
        text = document(row, with_outcome)
        seq, batch_id, vendor, name = (str(value, "latin-1") for value in (row.seq, row.batch_id, row.vendor, row.segment_name))
        if not NUMBER.fullmatch(seq) or not NUMBER.fullmatch(batch_id):
            raise BadMessage
        return text, (batch_id, seq), (vendor, name)

    if relation.columns != Row._fields:
        return any_document
    return lambda frame: plain_document(frame, with_outcome) or any_document(frame)
