"""Documents against an oracle of json and datetime alone; the fast path against the general one; bodies against their size."""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from listener import toggles
from listener.errors import BadMessage, BadOnly, ForeignTable
from listener.pgoutput import Relation
from listener.toggles import Row, body, document, fitting, parse_only, passes
from tests import wire

OID = 16389
RELATION = Relation(OID, "public", "segment_outcomes", wire.COLUMNS)
ID = b"a0b2c3d4-0000-4000-8000-00000000000f"
PREVIOUS_ID = b"00000000-0000-0000-0000-000000000000"
NOON = b"2021-01-16 12:34:56+00"
LEFT = Row(b"7", b"1", b"u", NOON, ID, b"42", b"planes", None, b"t", b"left", PREVIOUS_ID, b"2021-01-15 00:00:00.5+00", b"v")
"""A removal after an addition with a value."""

Pairs = list[tuple[str, Any]]


def reader(relation: Relation, with_outcome: bool) -> Callable[[bytes], bytes]:
    """How documents are made of messages."""
    read = toggles.reader(relation, with_outcome)
    return lambda message: read(wire.frame(message))[0]


def plain_document(message: bytes, with_outcome: bool) -> bytes | None:
    """The document of a message by the fast path."""
    found = toggles.plain_document(wire.frame(message), with_outcome)
    return found and found[0]


def only_line(text: bytes) -> str:
    assert text.splitlines() == [text]
    return text.decode()


def pairs(text: bytes) -> Pairs:
    """A document's fields in the order in which they stand there."""
    found: Pairs = json.loads(only_line(text), object_pairs_hook=list)
    return found


def wanted(row: Row, with_outcome: bool) -> Pairs:
    """What the contract says of this row."""
    found = fields(row, row.event_id, row.occurred_at, row.value, row.remove == b"t")
    if with_outcome:
        found.append(("outcome", row.outcome.decode()))
    if row.previous_event_id and row.previous_occurred_at:
        before = fields(row, row.previous_event_id, row.previous_occurred_at, row.previous_value, row.remove == b"f")
        found.append(("previous", before))
    return found


def fields(row: Row, event_id: bytes, occurred_at: bytes, value: bytes | None, removes: bool) -> Pairs:
    when = datetime.fromisoformat(occurred_at.decode()).replace(tzinfo=None).isoformat() + "Z"
    segment = [("vendor", int(row.vendor)), ("name", row.segment_name.decode())]
    found: Pairs = [("event", event_id.decode()), ("timestamp", when), ("user", row.user_id.decode()), ("segment", segment)]
    if value is not None:
        found.append(("value", value.decode()))
    if removes:
        found.append(("remove", True))
    return found


def as_server(moment: datetime) -> bytes:
    """A timestamptz with datestyle ISO and timezone UTC: a fraction without zeros at its end."""
    day, _, fraction = moment.isoformat(" ", "microseconds").partition(".")
    return f"{day}.{fraction}".rstrip("0").rstrip(".").encode() + b"+00"


def instants(digits: int) -> st.SearchStrategy[bytes]:
    step = 10 ** (6 - digits)
    return st.datetimes().map(lambda moment: as_server(moment.replace(microsecond=moment.microsecond // step * step)))


anything = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
tricky = st.text(st.sampled_from('nt"\\\x01\x1f\x7f\u2028\u2029\ud7ff\ue000\uffff😀\U0010ffff {}[],:+0'), max_size=6)
ending = st.sampled_from(["n", "t", "nn", "tt", "nt", "tn", "xn", "xt", "", " ", "f", "left"])
texts = (ending | tricky | anything).map(str.encode)
plain_texts = ending.map(str.encode) | st.text(st.characters(min_codepoint=0x20, exclude_characters='"\\\ud800'), max_size=9).map(
    lambda text: text.encode(errors="ignore")
)
uuids = st.uuids().map(lambda uuid: str(uuid).encode())
times = st.integers(0, 6).flatmap(instants)
bigints = st.integers(-(2**63), 2**63 - 1).map(b"%d".__mod__)
vendors = st.integers(1, 2**31 - 1).map(b"%d".__mod__)
outcomes = st.sampled_from([b"left", b"rejoined", b"joined", b"absent"])


def rows(texts: st.SearchStrategy[bytes]) -> st.SearchStrategy[Row]:
    before = st.tuples(uuids, times, st.none() | texts)
    return st.builds(
        lambda *values: Row(*values[:-1], *values[-1]),
        bigints, bigints, texts, times, uuids, vendors, texts, st.none() | texts, st.sampled_from([b"t", b"f"]), outcomes,
        before | before | st.just((None, None, None)),
    )  # fmt: skip


# Documents


@pytest.mark.parametrize(
    ("row", "with_outcome", "text"),
    [
        (
            LEFT,
            False,
            '{"event":"a0b2c3d4-0000-4000-8000-00000000000f","timestamp":"2021-01-16T12:34:56Z","user":"u",'
            '"segment":{"vendor":42,"name":"planes"},"remove":true,'
            '"previous":{"event":"00000000-0000-0000-0000-000000000000","timestamp":"2021-01-15T00:00:00.500000Z","user":"u",'
            '"segment":{"vendor":42,"name":"planes"},"value":"v"}}',
        ),
        (
            LEFT._replace(remove=b"f", outcome=b"rejoined", value=b"", previous_value=None),
            True,
            '{"event":"a0b2c3d4-0000-4000-8000-00000000000f","timestamp":"2021-01-16T12:34:56Z","user":"u",'
            '"segment":{"vendor":42,"name":"planes"},"value":"","outcome":"rejoined",'
            '"previous":{"event":"00000000-0000-0000-0000-000000000000","timestamp":"2021-01-15T00:00:00.500000Z","user":"u",'
            '"segment":{"vendor":42,"name":"planes"},"remove":true}}',
        ),
        (
            Row(b"7", b"1", 'é"\\'.encode(), NOON, ID, b"1", b"n", None, b"f", b"joined", None, None, None),
            True,
            '{"event":"a0b2c3d4-0000-4000-8000-00000000000f","timestamp":"2021-01-16T12:34:56Z","user":"é\\"\\\\",'
            '"segment":{"vendor":1,"name":"n"},"outcome":"joined"}',
        ),
    ],
)
def test_documents_to_the_letter(row: Row, with_outcome: bool, text: str) -> None:
    assert document(row, with_outcome).decode() == text
    assert reader(RELATION, with_outcome)(wire.insert(OID, row)).decode() == text


@settings(max_examples=300, deadline=None)
@given(rows(texts) | rows(plain_texts), st.booleans())
def test_documents(row: Row, with_outcome: bool) -> None:
    assert pairs(document(row, with_outcome)) == wanted(row, with_outcome)
    assert pairs(reader(RELATION, with_outcome)(wire.insert(OID, row))) == wanted(row, with_outcome)


def test_every_character() -> None:
    """Exhaustively: all of Unicode, as user, segment and values, by either path."""
    characters = [chr(code) for code in range(1, 0x110000) if not 0xD800 <= code < 0xE000]
    read = reader(RELATION, False)
    for start in range(0, len(characters), 250):
        text = "".join(characters[start : start + 250]).encode()
        row = LEFT._replace(user_id=text, segment_name=text, value=text, previous_value=text)
        assert pairs(document(row, False)) == wanted(row, False)
        assert pairs(read(wire.insert(OID, row))) == wanted(row, False)


def test_every_control_character_alone() -> None:
    for code in (*range(1, 0x80), 0x85, 0x2028, 0x2029, 0xFEFF, 0x1F600):
        row = LEFT._replace(user_id=chr(code).encode(), value=b"x" + chr(code).encode())
        assert pairs(reader(RELATION, True)(wire.insert(OID, row))) == wanted(row, True)


@pytest.mark.parametrize(
    ("text", "stamp"),
    [
        (b"0001-01-01 00:00:00+00", "0001-01-01T00:00:00Z"),
        (b"9999-12-31 23:59:59.999999+00", "9999-12-31T23:59:59.999999Z"),
        (b"2021-01-16 12:34:56.1+00", "2021-01-16T12:34:56.100000Z"),
        (b"2021-01-16 12:34:56.000001+00", "2021-01-16T12:34:56.000001Z"),
    ],
)
def test_timestamps(text: bytes, stamp: str) -> None:
    row = LEFT._replace(occurred_at=text, previous_occurred_at=text)
    for found in (document(row, False), plain_document(wire.insert(OID, row), False)):
        assert found
        parsed = json.loads(found)
        assert (parsed["timestamp"], parsed["previous"]["timestamp"]) == (stamp, stamp)


@pytest.mark.parametrize(
    "text",
    [b"", b"infinity", b"2021-01-16 12:34:56+01", b"2021-01-16 12:34:56", b"16/01/2021 12:34:56+00", b"0044-03-15 12:00:00+00 BC",
     b"10000-01-01 00:00:00+00", b"2021-01-16 12:34:56.+00", b"2021-01-16 12:34:56.1234567+00", b"2021-01-16 12:34:56+00\n"],
)  # fmt: skip
@pytest.mark.parametrize("column", ["occurred_at", "previous_occurred_at"])
def test_a_time_in_another_form(column: str, text: bytes) -> None:
    row = LEFT._replace(**{column: text})
    with pytest.raises(BadMessage):
        reader(RELATION, False)(wire.insert(OID, row))


@pytest.mark.parametrize("column", ["user_id", "segment_name", "value", "previous_value"])
def test_not_utf8(column: str) -> None:
    with pytest.raises(BadMessage):
        document(LEFT._replace(**{column: b"\xff"}), False)


@pytest.mark.parametrize("column", ["user_id", "occurred_at", "event_id", "vendor", "segment_name", "remove", "outcome"])
@pytest.mark.parametrize("with_outcome", [False, True])
def test_null_where_there_is_none(column: str, with_outcome: bool) -> None:
    row = LEFT._replace(**{column: None})  # type: ignore[arg-type]
    with pytest.raises(BadMessage):
        reader(RELATION, with_outcome)(wire.insert(OID, row))


# The fast path


@settings(max_examples=400, deadline=None)
@given(rows(texts) | rows(plain_texts), st.booleans())
@example(LEFT._replace(segment_name=b"xn", value=b"t"), False)
@example(LEFT._replace(segment_name=b"n", value=None, previous_value=None), False)
@example(LEFT._replace(user_id=b"", segment_name=b"t", value=b"", previous_value=b"n"), True)
@example(LEFT._replace(value=b"f" * 0xFFFF), False)
@example(LEFT._replace(value=b"f" * 0x10000), False)
def test_the_plain_path_says_what_the_general_one_says(row: Row, with_outcome: bool) -> None:
    found = plain_document(wire.insert(OID, row), with_outcome)
    event("general" if found is None else "plain")
    assert found in (None, document(row, with_outcome))


@settings(max_examples=200, deadline=None)
@given(rows(texts))
def test_where_a_row_was_recorded_and_what_it_is_about(row: Row) -> None:
    _, place, key = toggles.reader(RELATION, False)(wire.frame(wire.insert(OID, row)))
    assert place == (row.batch_id.decode(), row.seq.decode())
    assert key == (row.vendor.decode(), row.segment_name.decode("latin-1"))


@pytest.mark.parametrize("column", ["seq", "batch_id"])
@pytest.mark.parametrize("text", [b"", b"x", b"1.5", b"9" * 20])
def test_a_place_that_is_no_number(column: str, text: bytes) -> None:
    with pytest.raises(BadMessage):
        reader(RELATION, False)(wire.insert(OID, LEFT._replace(**{column: text})))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("vendor=3", "vendor=3"),
        ("vendor=003", "vendor=3"),
        ("segment=3/seg-1F", "segment=3/seg-1F"),
        ("segment=03/a/b é", "segment=3/a/b é"),
    ],
)
def test_only(text: str, canonical: str) -> None:
    assert parse_only(text) == canonical


@pytest.mark.parametrize(
    "text",
    [
        *("", "3", "vendor=", "vendor=0", "vendor=2147483648", "vendor=-1", "vendor=3/x", "\udcff"),
        *("segment=3", "segment=3/", "segment=/x", "segment=9999999999/s"),
    ],
)
def test_what_names_neither_vendor_nor_segment(text: str) -> None:
    with pytest.raises(BadOnly):
        parse_only(text)


def test_what_passes() -> None:
    key = ("3", "é".encode().decode("latin-1"))
    for only, expected in [
        ((), True),
        (("vendor=3",), True),
        (("vendor=33",), False),
        (("segment=3/é",), True),
        (("segment=3/e",), False),
    ]:
        assert passes(frozenset(wanted.encode().decode("latin-1") for wanted in only), key) == expected


@settings(max_examples=200, deadline=None)
@given(rows(plain_texts))
def test_the_usual_goes_the_plain_way(row: Row) -> None:
    found = plain_document(wire.insert(OID, row), False)
    assert (found is None) == (row.previous_event_id is None)


def lengths(message: bytes, row: Row) -> Iterator[tuple[str, int]]:
    """Where each column's length stands."""
    at = 8
    for name, value in zip(Row._fields, row, strict=True):
        if value is not None:
            yield name, at + 1
        at += 1 if value is None else 5 + len(value)
    assert at == len(message)


CHECKED = {"user_id", "event_id", "segment_name", "value", "remove", "previous_event_id", "previous_value"}
"""Columns whose length the plain path looks at; what the others hold ends of itself."""


@pytest.mark.parametrize("change", [-1, 1, 2, 5, 255, 256, 65_536, 16_777_216])
@pytest.mark.parametrize("user", [b"user", b'us"er'], ids=["plain", "general"])
def test_a_wrong_length(user: bytes, change: int) -> None:
    row = LEFT._replace(user_id=user, value=b"old")
    message = wire.insert(OID, row)
    for name, at in lengths(message, row):
        length = int.from_bytes(message[at : at + 4], "big")
        wrong = message[:at] + wire.number(length + change, 4) + message[at + 4 :]
        try:
            assert reader(RELATION, False)(wrong) == document(row, False)
        except BadMessage:
            continue
        assert user == b"user", name
        assert name not in CHECKED


@given(st.binary() | st.builds(lambda at, byte: broken(LEFT, at, byte), st.integers(0, 999), st.integers(0, 255)))
@settings(max_examples=500)
def test_any_bytes_are_a_document_or_bad(message: bytes) -> None:
    try:
        found = reader(RELATION, True)(message)
    except BadMessage:
        event("bad")
    else:
        event("document")
        assert found.startswith(b'{"event":"')


def broken(row: Row, at: int, byte: int) -> bytes:
    message = bytearray(wire.insert(OID, row))
    message[at % len(message)] = byte
    return bytes(message)


# Relations


def test_a_foreign_table() -> None:
    for missing in wire.COLUMNS:
        with pytest.raises(ForeignTable):
            reader(RELATION._replace(columns=tuple(name for name in wire.COLUMNS if name != missing)), False)
    with pytest.raises(ForeignTable):
        reader(Relation(1, "public", "t", ()), False)


@settings(max_examples=100, deadline=None)
@given(rows(texts), st.permutations([*wire.COLUMNS, "recorded_at", "new"]), st.integers(0, 2))
def test_columns_in_another_order_and_more_of_them(row: Row, order: list[str], more: int) -> None:
    columns = tuple(name for name in order if name in [*wire.COLUMNS, "recorded_at", "new"][: len(Row._fields) + more])
    values = row._asdict() | {"recorded_at": b"x", "new": None}
    read = reader(RELATION._replace(columns=columns), True)
    assert read(wire.insert(OID, [values[name] for name in columns])) == document(row, True)


def test_more_columns_at_the_end() -> None:
    """As after a migration, for which this listener was not made."""
    read = reader(RELATION._replace(columns=(*wire.COLUMNS, "new")), False)
    for new in (None, b"", b"n", b"\xff"):
        assert read(wire.insert(OID, [*LEFT, new])) == document(LEFT, False)


@pytest.mark.parametrize(
    "message",
    [
        wire.insert(OID + 1, LEFT._replace(user_id=b'"')),
        wire.insert(OID, LEFT[:-1]),
        wire.insert(OID, [*LEFT, None]),
        wire.begin(1, 0, 1),
        wire.commit(1, 2, 0),
        b"O" + bytes(8) + b"\0",
        b"",
    ],
)
def test_what_is_no_row_of_the_relation(message: bytes) -> None:
    with pytest.raises(BadMessage):
        reader(RELATION, False)(message)


# Bodies


def test_body() -> None:
    assert body([b'{"a":1}']) == b'[{"a":1}]\n'
    assert body([b"1", b"2", b"3"]) == b"[1,\n2,\n3]\n"
    assert body([]) == b"[]\n"


@settings(max_examples=50, deadline=None)
@given(st.lists(rows(texts), min_size=1, max_size=5))
def test_a_body_has_one_document_a_line(some: list[Row]) -> None:
    text = body([document(row, False) for row in some]).decode()
    assert text.endswith("]\n")
    lines = text[1:-2].split("\n")
    assert [json.loads(line.removesuffix(","), object_pairs_hook=list) for line in lines] == [wanted(row, False) for row in some]
    assert json.loads(text, object_pairs_hook=list) == [wanted(row, False) for row in some]


def most_that_fit(documents: Sequence[bytes], most_documents: int, most_bytes: int) -> int:
    """By making every body."""
    counts = range(1, min(most_documents, len(documents)) + 1)
    return max((count for count in counts if len(body(documents[:count])) <= most_bytes), default=min(1, len(documents)))


@settings(max_examples=300)
@given(st.lists(st.integers(1, 30).map(bytes), max_size=30), st.integers(1, 35), st.integers(1, 500))
def test_fitting(documents: list[bytes], most_documents: int, most_bytes: int) -> None:
    assert fitting(documents, most_documents, most_bytes) == most_that_fit(documents, most_documents, most_bytes)


def test_fitting_to_the_byte() -> None:
    documents = [b"x" * 10] * 5
    for count in range(1, 6):
        size = len(body(documents[:count]))
        assert fitting(documents, 5, size) == count
        assert fitting(documents, 5, size - 1) == max(1, count - 1)


def test_the_servers_form() -> None:
    assert as_server(datetime.min) == b"0001-01-01 00:00:00+00"
    assert as_server(datetime.min.replace(microsecond=120_000)) == b"0001-01-01 00:00:00.12+00"
    assert as_server(datetime.min.replace(year=2020, second=10)) == b"2020-01-01 00:00:10+00"
