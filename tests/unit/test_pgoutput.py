"""The protocol's bytes: golden ones written out from the manual, any by an encoder that shares nothing with the decoder."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from listener.errors import BadMessage
from listener.pgoutput import Begin, Commit, Insert, Keepalive, Message, Relation, decode, keepalive, status_update
from tests import wire

NOON = datetime(2021, 1, 16, 12, 34, 56, 123456, UTC)
"""664,115,696,123,456 µs after 2000-01-01: 00025C027C283E40."""

GOLDEN: dict[str, tuple[str, Message]] = {
    "begin": (
        "42"  # B
        "00000016B374D848"  # commit_lsn 16/B374D848
        "00025C027C283E40"  # committed at
        "FFFFFFFE",  # xid, without a sign
        Begin(0x16B374D848, NOON, 4294967294),
    ),
    "begin, before 2000": (
        "42 0000000000000001 FFFFFFFFFFFFFFFF 00000003",
        Begin(1, datetime(1999, 12, 31, 23, 59, 59, 999999, UTC), 3),
    ),
    "commit": (
        "43"  # C
        "00"  # flags
        "00000016B374D848"  # commit_lsn, as in Begin
        "FFFFFFFFFFFFFFFF"  # end_lsn
        "00025C027C283E40",  # committed at
        Commit(0x16B374D848, 2**64 - 1, NOON),
    ),
    "relation": (
        "52"  # R
        "F0004005"  # oid, without a sign
        "7075626C696300"  # public
        "7AC3A900"  # zé
        "64"  # replica identity: default
        "0002"  # columns
        "01 73657100 00000014 FFFFFFFF"  # of the key, seq, bigint, no modifier
        "00 6E616D6500 00000019 FFFFFFFF",  # name, text
        Relation(0xF0004005, "public", "zé", ("seq", "name")),
    ),
    "relation, of pg_catalog, without columns": (
        "52 00000001 00 7400 6E 0000",  # pg_catalog's name is left empty
        Relation(1, "", "t", ()),
    ),
    "insert": (
        "49"  # I
        "F0004005"  # oid
        "4E"  # a new row
        "0005"  # columns
        "74 00000002 3432"  # text of 2 bytes: 42
        "6E"  # null
        "74 00000000"  # empty text
        "74 00000003 6E0074"  # bytes that look like columns
        "6E",
        Insert(0xF0004005, (b"42", None, b"", b"n\0t", None)),
    ),
    "insert, without columns": ("49 00000001 4E 0000", Insert(1, ())),
    "origin": ("4F 0000000000000001 6F00", None),
    "type": ("59 00004005 7075626C696300 6D6F6F6400", None),
    "logical message": ("4D 01 00000016B374D848 7000 00000002 6869", None),
}

ALIVE = "6B 00000016B374D848 00025C027C283E40"  # k, the end of the log, the server's clock


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name: str) -> None:
    text, message = GOLDEN[name]
    assert decode(bytes.fromhex(text)) == message


@pytest.mark.parametrize("name", [name for name, (_, message) in GOLDEN.items() if message])
def test_no_part_of_a_message_is_one(name: str) -> None:
    whole = bytes.fromhex(GOLDEN[name][0])
    for size in range(len(whole)):
        with pytest.raises(BadMessage):
            decode(whole[:size])
    with pytest.raises(BadMessage):
        decode(whole + b"\0")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        "55 00004005 4E 0000",  # an update
        "44 00004005 4B 0000",  # a delete
        "54 00000001 00 00004005",  # a truncate
        "53 00000001 01",  # a stream's start
        "49 00004005 4F 0000",  # an old row
        "49 00004005 4E 0001 75",  # "unchanged"
        "49 00004005 4E 0001 62 00000001 41",  # binary
        "49 00004005 4E 0001 74 00000002 41",  # one byte less than told
        "49 00004005 4E 0001 74 FFFFFFFF 41",
        "49 00004005 4E 0001 6E 6E",  # one column more than told
        "52 00004005 FF00 7400 64 0000",  # not UTF-8
        "42 0000000000000001 7FFFFFFFFFFFFFFF 00000001",  # later than year 9999
        "42 0000000000000001 8000000000000000 00000001",
        "43 00 0000000000000001 0000000000000001 7FFFFFFFFFFFFFFF",
    ],
)
def test_what_is_no_message_of_ours(text: str) -> None:
    with pytest.raises(BadMessage):
        decode(bytes.fromhex(text))


@pytest.mark.parametrize("size", [0xFF, 0x100, 0xFFFF, 0x10000, 0x10001, 0x1020304])
def test_all_four_bytes_of_a_length_count(size: int) -> None:
    value = b"x" * size
    assert decode(wire.insert(7, [value, None, b"end"])) == Insert(7, (value, None, b"end"))
    with pytest.raises(BadMessage):
        decode(wire.insert(7, [value])[:-1])


def test_as_many_columns_as_a_table_can_have() -> None:
    names = tuple(f"column{n}" for n in range(1600))
    assert decode(wire.relation(1, "s", "t", names)) == Relation(1, "s", "t", names)
    assert decode(wire.insert(1, [None] * 1600)) == Insert(1, (None,) * 1600)


oids = st.integers(0, 2**32 - 1)
lsns = st.integers(0, 2**64 - 1)
moments = st.datetimes(timezones=st.just(UTC))
names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=63)


def microseconds(moment: datetime) -> int:
    """Since 2000, by way of the Unix epoch."""
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds - 946_684_800) * 1_000_000 + since.microseconds


@given(lsns, lsns, moments, oids)
def test_transactions(commit_lsn: int, end_lsn: int, moment: datetime, xid: int) -> None:
    time = microseconds(moment)
    assert decode(wire.begin(commit_lsn, time, xid)) == Begin(commit_lsn, moment, xid)
    assert decode(wire.commit(commit_lsn, end_lsn, time)) == Commit(commit_lsn, end_lsn, moment)


@given(oids, names, names, st.lists(names, max_size=20))
def test_relations(oid: int, schema: str, name: str, columns: list[str]) -> None:
    assert decode(wire.relation(oid, schema, name, columns)) == Relation(oid, schema, name, tuple(columns))


@given(oids, st.lists(st.none() | st.binary(max_size=300), max_size=20))
def test_inserts(oid: int, values: list[bytes | None]) -> None:
    assert decode(wire.insert(oid, values)) == Insert(oid, tuple(values))


def nearly(text: str, at: int, byte: int, size: int) -> bytes:
    """A golden message with one byte changed, cut off somewhere."""
    whole = bytearray.fromhex(text)
    whole[at % len(whole)] = byte
    return bytes(whole[: 1 + size % len(whole)] if size % 2 else whole)


golden = st.sampled_from([text for text, _ in GOLDEN.values()])
changed = st.builds(nearly, golden, st.integers(0, 99), st.integers(0, 255), st.integers(0, 199))
tagged = st.builds(lambda tag, rest: bytes([tag]) + rest, st.sampled_from(b"BCRIOYM"), st.binary())


@settings(max_examples=2000)
@given(st.binary() | tagged | changed)
@example(b"R" + b"\xff" * 99)
@example(b"I\0\0\0\1N\xff\xff" + b"n" * 65534)
def test_any_bytes_are_a_message_or_a_bad_one(data: bytes) -> None:
    try:
        message = decode(data)
    except BadMessage:
        event("bad")
    else:
        event(type(message).__name__)


@pytest.mark.parametrize(("byte", "asked"), [("00", False), ("01", True)])
def test_keepalive(byte: str, asked: bool) -> None:
    assert keepalive(bytes.fromhex(ALIVE + byte)) == Keepalive(0x16B374D848, asked)


@given(lsns, st.integers(-(2**63), 2**63 - 1), st.booleans())
def test_keepalives(wal_end: int, time: int, asked: bool) -> None:
    assert keepalive(wire.keepalive_frame(wal_end, time, asked)) == Keepalive(wal_end, asked)


def test_no_part_of_a_keepalive_is_one() -> None:
    whole = bytes.fromhex(ALIVE + "00")
    for size in range(len(whole)):
        with pytest.raises(BadMessage):
            keepalive(whole[:size])
    with pytest.raises(BadMessage):
        keepalive(whole + b"\0")


def test_status_update() -> None:
    told = bytes.fromhex(
        "72"  # r
        "00000016B374D848"  # written
        "00000016B374D800"  # flushed
        "0000000000000000"  # applied: not said
        "00025C027C283E40"  # our clock
        "00"  # no reply
    )
    assert status_update(0x16B374D848, 0x16B374D800, NOON) == told
    assert status_update(0x16B374D848, 0x16B374D800, NOON, reply_requested=True) == told[:-1] + b"\1"
    assert status_update(2**64 - 1, 0, datetime(2000, 1, 1, tzinfo=UTC)) == b"r" + b"\xff" * 8 + b"\0" * 25


@given(lsns, lsns, moments)
def test_status_updates(written: int, flushed: int, now: datetime) -> None:
    told = status_update(written, flushed, now)
    assert len(told) == 34
    assert told[1:25] == wire.number(written, 8) + wire.number(flushed, 8) + bytes(8)
    since = int.from_bytes(told[25:33], "big", signed=True)
    assert datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=since) == now
