"""The contract of one event, by examples, and held against its JSON Schema and an independent calendar."""

import json
import re
import time
from calendar import isleap
from datetime import UTC, datetime, timedelta, timezone
from importlib.resources import files
from typing import Any
from zlib import crc32

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft4Validator, FormatChecker  # type: ignore[import-untyped]
from jsonschema.validators import validator_for  # type: ignore[import-untyped]

from loader.event import MAX_DEPTH, Invalid, Limits, Row, check_value, parse, position_bucket, reject, utc

ID = "a0b2c3d4-0000-4000-8000-00000000000f"
OPEN = Limits(datetime.max.replace(tzinfo=UTC), None)
PLAIN = {
    "event": ID,
    "timestamp": "2021-01-16T12:34:56Z",
    "user": "alice",
    "segment": {"vendor": 42, "name": "planes"},
}


def text(**changes: Any) -> str:
    """Return the plain event's JSON with fields changed, added, or (when they are ...) left out."""
    return json.dumps({key: value for key, value in (PLAIN | changes).items() if value is not ...})


def with_segment(fields: str) -> bytes:
    return text(segment="@").replace('"@"', fields).encode()


def with_field(member: str) -> bytes:
    return f"{text()[:-1]}, {member}}}".encode()


def fault(line: bytes | str, limits: Limits = OPEN) -> Invalid:
    with pytest.raises(Invalid) as caught:
        parse(line.encode() if isinstance(line, str) else line, 0, limits)
    return caught.value


def columns(line: bytes) -> list[str]:
    """Return the row's columns as COPY hands them to PostgreSQL, with null as None told by its own name."""
    copy = parse(line, 0, OPEN).copy
    assert copy.endswith("\n")
    fields = copy[:-1].split("\t")
    assert len(fields) == 8
    unescaped = {"\\\\": "\\", "\\t": "\t", "\\n": "\n", "\\r": "\r", "\\N": "NULL"}
    return [re.sub(r"\\.", lambda match: unescaped[match[0]], field) for field in fields]


def test_row() -> None:
    line = text().encode()
    copy = f"alice\t2021-01-16T12:34:56Z\t{ID}\t42\tplanes\t\\N\tf\t\\N\n"
    assert parse(line, 7, OPEN) == Row(7, crc32(b"alice") & 15, "alice", copy, line)
    assert parse(line, 7, OPEN).day == "2021-01-16"


def test_bucket_is_of_the_users_bytes() -> None:
    assert parse(text(user="Zoë").encode(), 0, OPEN).bucket == crc32("Zoë".encode()) & 15


@pytest.mark.parametrize(
    ("changes", "value", "remove"),
    [
        ({}, "NULL", "f"),
        ({"remove": True}, "NULL", "t"),
        ({"value": ""}, "", "f"),
        ({"value": "\\N"}, "\\N", "f"),
        ({"value": "a\tb\nc\rd\\e\b\f\v\x7f é😀"}, "a\tb\nc\rd\\e\b\f\v\x7f é😀", "f"),
    ],
)
def test_value_and_remove(changes: dict[str, Any], value: str, remove: str) -> None:
    assert columns(text(**changes).encode())[5:] == [value, remove, "NULL"]


def test_names_are_escaped_for_copy() -> None:
    assert columns(text(user="a\tb\\", segment={"vendor": 1, "name": "\n\\."}).encode())[:1] == ["a\tb\\"]
    assert columns(text(user="a\tb\\", segment={"vendor": 1, "name": "\n\\."}).encode())[4] == "\n\\."


@pytest.mark.parametrize(
    ("member", "extra"),
    [
        ('"a": 1.50', '{"a":1.50}'),
        ('"a":\t[ 1 ,\t{"b" : "\\t\\\\"}\r]', '{"a":[ 1 ,\t{"b" : "\\t\\\\"}\r]}'),
        ('"n": 123456789012345678901234567890.10e400', '{"n":123456789012345678901234567890.10e400}'),
        ('"extra": {"segment": 1}, "previous": null', '{"extra":{"segment": 1},"previous":null}'),
        ('"_meta": -0, "outcome": "x"', '{"_meta":-0,"outcome":"x"}'),
        ('"vendor": 1, "name": 2', '{"vendor":1,"name":2}'),
        ('"\\u0061\\"\\n": "\\ud83d\\ude00"', '{"a\\"\\n":"\\ud83d\\ude00"}'),
        ('"": "\\\\u0000"', '{"":"\\\\u0000"}'),
        ('"big": ' + "1" * 100_000, '{"big":' + "1" * 100_000 + "}"),
    ],
)
def test_unnamed_fields_stay_the_text_that_came(member: str, extra: str) -> None:
    assert columns(with_field(member))[7] == extra


def test_unnamed_fields_of_segment() -> None:
    line = with_segment('{"vendor": 1, "x": 1.0, "name": "n", "event": {"vendor": 1}}')
    assert columns(line)[7] == '{"segment":{"x":1.0,"event":{"vendor": 1}}}'
    both = line[:-1] + b', "zip": "z"}'
    assert columns(both)[7] == '{"zip":"z","segment":{"x":1.0,"event":{"vendor": 1}}}'


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8"),
        (b"\xef\xbb\xbf" + text().encode(), "byte order mark"),
        (text() + "{}", "not JSON"),
        (text() + "x", "not JSON"),
        (text()[:-1] + ",}", "not JSON"),
        (text().replace("42", "042"), "not JSON"),
        (text().replace("alice", "a\nb"), "not JSON"),
        (text().replace("alice", "a\0b"), "not JSON"),
        (text().replace(",", ",\v"), "not JSON"),
        ("[]", "an array, not a JSON object"),
        ('"a"', "'a', not a JSON object"),
        ("1e5", "the number 1e5, not a JSON object"),
        ("null", "null, not a JSON object"),
        (with_field('"x": NaN'), "NaN"),
        (with_field('"x": [-Infinity]'), "-Infinity"),
        (with_field('"x": "\\u0000"'), "u0000"),
        (with_field('"x": ["\\\\\\u0000"]'), "u0000"),
        (with_field('"x\\u0000": 1'), "u0000"),
        (with_field('"x": "\\ud800"'), "ud800"),
        (with_field('"x": "\\uDC00\\ud83d\\ude00"'), "uDC00"),
        (with_field('"x": "\\ud83d\\ud83d\\ude00"'), "ud83d"),
        (with_field('"x": {"\\udfff": 1}'), "udfff"),
        ("[" * 500_000, "nested"),
        ('{"a":' * 500_000, "nested"),
        (with_field('"x": "' + "[" * 300 + '", "y": ' + "[" * 256 + "]" * 256), "nested"),
        ('{"x":"' + '\\"[' * 300_000, "not JSON"),
    ],
)
def test_invalid_json(line: bytes | str, reason: str) -> None:
    invalid = fault(line)
    assert invalid.code == "invalid_json"
    assert reason in invalid.reason


def test_deepest() -> None:
    inner = MAX_DEPTH - 1
    assert columns(with_field('"x":' + "[" * inner + "]" * inner))[7] == '{"x":' + "[" * inner + "]" * inner + "}"
    assert columns(with_field('"x": "' + "\\\\[" * 1000 + '"'))[7].count("[") == 1000
    assert fault(with_field('"x":' + "[" * MAX_DEPTH + "]" * MAX_DEPTH)).code == "invalid_json"


@pytest.mark.parametrize(
    "line",
    [
        with_field('"user": "alice"'),
        with_field('"us\\u0065r": "bob"'),
        with_field('"x": 1, "\\u0078": 1'),
        with_field('"x": [{"y": 1, "z": 2, "y": 1}]'),
        with_segment('{"vendor": 1, "name": "a", "name": "b"}'),
        with_segment('{"vendor": 1, "name": "a", "x": 1, "x": 1}'),
    ],
)
def test_duplicate_key(line: bytes) -> None:
    assert fault(line).code == "duplicate_key"


@pytest.mark.parametrize(
    ("line", "code", "reason"),
    [
        (text(event=...), "invalid_event", "event is missing"),
        (text(event=None), "invalid_event", "event is null"),
        (text(event=ID.replace("-", "")), "invalid_event", "36-character"),
        (text(event="{" + ID[1:-1] + "}"), "invalid_event", "event is '{"),
        (text(event=ID + "\n"), "invalid_event", "event is"),
        (text(event=ID[:-1] + "g"), "invalid_event", "event is"),
        (text(event=ID[:-1] + "٣"), "invalid_event", "event is"),
        (text(timestamp=...), "invalid_timestamp", "timestamp is missing"),
        (text(timestamp=1610800496), "invalid_timestamp", "timestamp is the number 1610800496"),
        (text(user=...), "invalid_user", "user is missing"),
        (text(user=""), "invalid_user", "user is ''"),
        (text(user=7), "invalid_user", "user is the number 7"),
        (text(user="a" * 257), "invalid_user", "of 257 characters"),
        (text(user="a\0"), "invalid_user", "user holds U+0000"),
        (text(user="\udc00"), "invalid_user", "lone surrogate"),
        (text(segment=...), "invalid_segment", "segment is missing"),
        (text(segment="planes"), "invalid_segment", "segment is 'planes'"),
        (text(segment=[]), "invalid_segment", "segment is an array"),
        (text(segment={"name": "planes"}), "invalid_segment", "segment.vendor is missing"),
        (text(segment={"vendor": 42}), "invalid_segment", "segment.name is missing"),
        (text(segment={"vendor": 42, "name": ""}), "invalid_segment", "segment.name is ''"),
        (text(segment={"vendor": 42, "name": "n" * 33}), "invalid_segment", "33 characters"),
        (text(segment={"vendor": 42, "name": "\0"}), "invalid_segment", "segment.name holds"),
        (text(segment={"vendor": True, "name": "n"}), "invalid_segment", "segment.vendor is true"),
        (text(segment={"vendor": "1", "name": "n"}), "invalid_segment", "segment.vendor is '1'"),
        (text(value=None), "invalid_value", "value is null"),
        (text(value=5), "invalid_value", "value is the number 5"),
        (text(value={}), "invalid_value", "value is an object"),
        (text(value="\0"), "invalid_value", "value holds"),
        (text(value="v", remove=True), "invalid_value", "beside remove"),
        (text(value=None, remove=True), "invalid_value", "beside remove"),
        (text(remove=False), "invalid_remove", "remove is false"),
        (text(remove=None), "invalid_remove", "remove is null"),
        (text(remove=1), "invalid_remove", "remove is the number 1"),
        (text(remove="true"), "invalid_remove", "remove is 'true'"),
    ],
)
def test_invalid_fields(line: str, code: str, reason: str) -> None:
    invalid = fault(line)
    assert invalid.code == code
    assert reason in invalid.reason
    assert not VALIDATOR.is_valid(json.loads(line)) or "surrogate" in reason


@pytest.mark.parametrize(
    "number", ["0", "-0", "-1", "2147483648", "1.0", "1e3", "1E0", "10e-1", "1" * 100_000, "1." + "0" * 100_000]
)
def test_invalid_vendors(number: str) -> None:
    assert fault(with_segment(f'{{"vendor":{number},"name":"n"}}')).code == "invalid_segment"


@pytest.mark.parametrize("number", ["1", "2147483647"])
def test_vendors(number: str) -> None:
    assert columns(with_segment(f'{{"vendor":{number},"name":"n"}}'))[3] == number


def test_lengths_are_of_code_points() -> None:
    line = text(user="😀" * 256, segment={"vendor": 1, "name": "é" * 32})
    assert columns(line.encode())[0] == "😀" * 256
    assert columns(json.dumps(json.loads(line), ensure_ascii=False).encode())[4] == "é" * 32


@pytest.mark.parametrize("case", [str.upper, str.lower])
def test_ids_stay_the_text_that_came(case: Any) -> None:
    assert columns(text(event=case(ID)).encode())[2] == case(ID)


@pytest.mark.parametrize(
    ("came", "kept"),
    [
        ("2021-01-16T12:34:56Z", "2021-01-16T12:34:56Z"),
        ("2021-01-16t12:34:56.5z", "2021-01-16T12:34:56.5Z"),
        ("2021-01-16T12:34:56.000000+00:00", "2021-01-16T12:34:56.000000Z"),
        ("2021-01-16T12:34:56-00:00", "2021-01-16T12:34:56Z"),
        ("2021-01-16T00:30:00+01:00", "2021-01-15T23:30:00Z"),
        ("2021-01-16T12:34:56.25-23:59", "2021-01-17T12:33:56.250000Z"),
        ("2021-01-16T12:34:56.1234565Z", "2021-01-16T12:34:56.123457Z"),
        ("2021-01-16T12:34:56.12345649999999999999Z", "2021-01-16T12:34:56.123456Z"),
        ("2020-12-31T23:59:59.9999995Z", "2021-01-01T00:00:00Z"),
        ("2020-02-29T12:00:00Z", "2020-02-29T12:00:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("0000-12-31T23:30:00-00:30", "0001-01-01T00:00:00Z"),
        ("0000-12-31T23:59:59.9999999Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59.9999994Z", "9999-12-31T23:59:59.999999Z"),
        ("9999-12-31T23:59:59.9999999+00:01", "9999-12-31T23:59:00Z"),
    ],
)
def test_timestamps(came: str, kept: str) -> None:
    row = parse(text(timestamp=came).encode(), 0, OPEN)
    assert row.copy.split("\t")[1] == kept
    assert row.day == kept[:10]


@pytest.mark.parametrize(
    "stamp",
    [
        *(f"2021-01-16{rest}" for rest in ("", " 12:34:56Z", "T12:34:56", "T12:34Z", "T12:34:56,5Z", "T12:34:56.Z")),
        *(f"2021-01-16T12:34:56{offset}" for offset in ("Z\n", "+0100", "+24:00", "+01:60", "+01", "-1:00")),
        *(f"2021-01-16T{clock}Z" for clock in ("12:34:60", "12:60:00", "24:00:00", "123456", " 2:34:56")),
        *(f"{day}T00:00:00Z" for day in ("2021-02-29", "2021-13-01", "2021-00-01", "2021-04-31", "1900-02-29")),
        *(f"{day}T00:00:00Z" for day in ("٢٠٢١-01-16", "20210116", "2021-W02-6", " 2021-01-16", "10000-01-01")),
        "0000-01-01T00:00:00Z",
        "0000-12-31T23:59:59.9999994Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "9999-12-31T23:59:59.9999995Z",
        "infinity",
        "",
    ],
)
def test_invalid_timestamps(stamp: str) -> None:
    assert fault(text(timestamp=stamp)).code == "invalid_timestamp"


def test_limits_are_inclusive_and_of_moments() -> None:
    east = timezone(timedelta(hours=5))
    latest, horizon = datetime(2021, 1, 16, 17, 0, 0, 1, east), datetime(2021, 1, 15, 5, tzinfo=east)
    limits = Limits(latest, horizon)
    for taken in ("2021-01-16T12:00:00.000001Z", "2021-01-15T00:00:00Z", "2021-01-15T01:00:00+01:00"):
        assert parse(text(timestamp=taken).encode(), 0, limits)
    assert fault(text(timestamp="2021-01-16T12:00:00.0000015Z"), limits).code == "future"
    assert fault(text(timestamp="2021-01-14T23:59:59.999999Z"), limits).code == "expired"


def test_only_valid_events_expire() -> None:
    limits = Limits(datetime(2021, 1, 2, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))
    assert fault(text(timestamp="2020-01-01T00:00:00Z", remove=False), limits).code == "invalid_remove"
    assert fault(text(timestamp="2022-01-01T00:00:00Z", x="\0"), limits).code == "invalid_json"


@pytest.mark.parametrize(
    "line",
    [
        text(user="\udc00é\0" * 100_000),
        text(event="\udc00é\0" * 100_000),
        text(timestamp="9" * 100_000),
        text(segment={"vendor": "x" * 100_000, "name": "n"}),
        '"' + "\\u0000" * 100_000 + '"',
        '{"' + "\\ud800" * 100_000 + '":1,"' + "\\ud800" * 100_000 + '":1}',
        "1" * 100_000,
    ],
)
def test_reasons_are_bounded_printable_and_storable(line: str) -> None:
    reason = fault(line).reason
    assert len(reason) < 600
    assert reason.isascii()
    assert reason.isprintable()


def test_reject() -> None:
    line, position = b"x" * 100_000, 2**40
    made = reject(line, position, Invalid("invalid_json", "why"))
    bucket = crc32(position.to_bytes(8, "big")) & 15
    assert made == (position, bucket, line, 100_000, None, "invalid_json", "why")
    assert {position_bucket(n) for n in range(200)} == set(range(16))


def test_many_keys_take_no_longer_than_they_must() -> None:
    """A hundred thousand, the last one twice: looking for it among all of them, for each, takes a minute."""
    members = ",".join(f'"{key}":0' for key in [*range(100_000), 99_999])
    began = time.process_time()
    assert fault(f"{{{members}}}".encode()).code == "duplicate_key"
    assert time.process_time() - began < 10


def test_check_value() -> None:
    check_value('[{"a": 1}, {"a": 1}]')
    for bad in ('{"a": 1, "a": 1}', "[" * 255 + "]" * 255):
        with pytest.raises(Invalid):
            check_value(bad)


def microseconds(stamp: str) -> int | None:
    """Return microseconds since the beginning of year 0, by arithmetic of its own; None: no such day or time."""
    day, clock, fraction, offset = re.fullmatch(
        r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", stamp.upper(), re.ASCII
    ).groups("0")  # type: ignore[union-attr]
    year, month, date = map(int, day.split("-"))
    lengths = [31, 29 if isleap(year) else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    if not (1 <= month <= 12 and 1 <= date <= lengths[month - 1]):
        return None
    leap_years = (year + 3) // 4 - (year + 99) // 100 + (year + 399) // 400
    days = year * 365 + leap_years + sum(lengths[: month - 1]) + date - 1
    hour, minute, second = map(int, clock.split(":"))
    east = 0 if offset == "Z" else (int(offset[1:3]) * 60 + int(offset[4:])) * (-1 if offset[0] == "-" else 1)
    digits = (fraction.lstrip(".") + "0" * 7)[:7]
    return (days * 86400 + hour * 3600 + (minute - east) * 60 + second) * 10**6 + (int(digits) + 5) // 10


YEAR_1 = 366 * 86400 * 10**6


def exists(stamp: object) -> bool:
    """Check what the schema's pattern cannot: that the day exists, and that the year is 1 to 9999 in UTC."""
    if not isinstance(stamp, str) or not Draft4Validator({"type": "string", **PATTERN}).is_valid(stamp):
        return True
    moment = microseconds(stamp)
    return moment is not None and YEAR_1 <= moment < YEAR_1 + (datetime.max - datetime.min).total_seconds() * 10**6


SCHEMA = json.loads(files("loader").joinpath("event.schema.json").read_text())
PATTERN = {key: SCHEMA["properties"]["timestamp"][key] for key in ("pattern", "not")}
CHECKER = FormatChecker(formats=())
CHECKER.checks("date-time")(exists)
VALIDATOR = validator_for(SCHEMA)(SCHEMA, format_checker=CHECKER)

stamps = st.builds(
    "{:04}-{:02}-{:02}{}{:02}:{:02}:{:02}{}{}".format,
    st.one_of(st.sampled_from([0, 1, 4, 100, 1900, 2000, 2021, 9999]), st.integers(0, 9999)),
    st.integers(0, 13) | st.sampled_from([1, 2, 12]),
    st.integers(0, 32) | st.sampled_from([1, 28, 29, 30, 31]),
    st.sampled_from("TTTTt "),
    st.integers(0, 24) | st.sampled_from([0, 23]),
    st.integers(0, 60) | st.just(59),
    st.integers(0, 60) | st.just(59),
    st.sampled_from(["", "", ".", ".0", ".9999995", ".9999994999"]) | st.from_regex(r"\.[0-9]{1,9}", fullmatch=True),
    st.sampled_from(["Z", "Z", "z", "+00:00", "-00:01", "+23:59", "-23:59", "+24:00", "", "Z\n", "+16:00"]),
)
strings = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["n" * 32, "n" * 33, "😀" * 256, "u" * 257]
)
unnamed_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | unnamed_text
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(unnamed_text, inner, max_size=2), max_leaves=4
)
vendors = st.integers(-1, 3) | st.sampled_from([2**31 - 1, 2**31, 1.0, 10**30]) | scalars
segments = st.fixed_dictionaries({}, optional={"vendor": vendors, "name": strings, "x": anything}) | st.builds(
    lambda vendor, name: {"vendor": vendor, "name": name}, st.integers(1, 9), st.just("n")
)
ids = st.from_regex(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\n?", fullmatch=True) | st.just(ID)
near_valid = st.builds(
    lambda changes, dropped: {k: v for k, v in (PLAIN | changes).items() if k not in dropped},
    st.fixed_dictionaries(
        {},
        optional={
            "event": ids | scalars,
            "timestamp": stamps,
            "user": strings | scalars,
            "segment": segments | anything,
            "value": strings | scalars,
            "remove": st.just(True) | scalars,
            "extra": anything,
        },
    ),
    st.sets(st.sampled_from(["event", "timestamp", "user", "segment", "extra"]), max_size=1),
)


def accepted(document: object, ensure_ascii: bool = True) -> bool:
    try:
        parse(json.dumps(document, ensure_ascii=ensure_ascii).encode(), 0, OPEN)
    except Invalid:
        return False
    return True


@settings(deadline=None, max_examples=1500)
@given(near_valid | anything, st.booleans())
@example(PLAIN | {"timestamp": "2021-01-16T12:34:56Z\n"}, True)
@example(PLAIN | {"event": ID + "\n"}, True)
@example(PLAIN | {"user": "\0"}, True)
@example(PLAIN | {"remove": 1}, True)
@example(PLAIN | {"segment": {"vendor": 1.0, "name": "n"}}, True)
def test_schema_and_parse_agree(document: object, ensure_ascii: bool) -> None:
    """But for what a schema cannot express, which is absent here.

    That is: what is not JSON or not UTF-8, duplicate keys, lone surrogates, U+0000 in unnamed fields and keys, depth,
    the length of the line, the clock and the horizon.
    """
    assert VALIDATOR.is_valid(document) == accepted(document, ensure_ascii)


def test_schema_is_valid() -> None:
    Draft4Validator.check_schema(SCHEMA)


@settings(deadline=None, max_examples=1500)
@given(stamps)
def test_timestamps_keep_their_moment(stamp: str) -> None:
    try:
        kept, moment = utc(stamp)
    except Invalid:
        return
    assert microseconds(stamp) == microseconds(kept)
    assert microseconds(kept) == microseconds(moment.isoformat())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", kept)
