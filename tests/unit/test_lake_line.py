"""A line of the lake's and back: our `_meta` in it, and the event as it was."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.line import Arrived, arrived, of_columns
from loader.event import Limits, parse

LIMITS = Limits(datetime.max.replace(tzinfo=UTC), None)
NAMED = {"event", "timestamp", "user", "segment", "value", "remove"}
LINE = '{"event":"e","user":"u"}'

storable = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9)
numbers = st.decimals(allow_nan=False, allow_infinity=False) | st.integers().map(Decimal)
values = st.recursive(
    st.none() | st.booleans() | numbers | storable,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(storable, inner, max_size=3),
    max_leaves=8,
)
extras = st.dictionaries(storable.filter(lambda key: key not in NAMED) | st.just("_meta"), values, max_size=4)
of_segment = st.dictionaries(storable.filter(lambda key: key not in ("vendor", "name")), values, min_size=1, max_size=3)


def dump(value: Any) -> str:
    """JSON whose numbers are those that went in."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{dump(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dump, value)) + "]"
    return json.dumps(value)


def read(text: bytes | str) -> Any:
    """JSON with exact numbers."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


@st.composite
def columns(draw: st.DrawFn) -> dict[str, Any]:
    """An event as Parquet has it."""
    extra = draw(extras) | ({"segment": draw(of_segment)} if draw(st.booleans()) else {})
    remove = draw(st.booleans())
    return {
        "event": str(draw(st.uuids())),
        "timestamp": draw(st.datetimes(timezones=st.just(UTC))),
        "user": draw(storable.filter(bool)),
        "segment": {"vendor": draw(st.integers(1, 2**31 - 1)), "name": draw(storable.filter(bool))},
        "value": None if remove else draw(st.none() | storable),
        "remove": remove,
        "extra": dump(extra) if extra else None,
    }


@given(columns())
def test_columns_become_the_line_of_an_event(event: dict[str, Any]) -> None:
    fields = read(of_columns(event))
    segment = fields.pop("segment")
    assert (segment.pop("vendor"), segment.pop("name")) == (event["segment"]["vendor"], event["segment"]["name"])
    assert datetime.fromisoformat(fields.pop("timestamp")) == event["timestamp"]
    assert (fields.pop("event"), fields.pop("user")) == (event["event"], event["user"])
    assert (fields.pop("value", None), fields.pop("remove", False)) == (event["value"], event["remove"])
    assert fields | ({"segment": segment} if segment else {}) == (read(event["extra"]) if event["extra"] else {})


@given(columns(), st.integers(0, 2**62), st.integers(0, 2**62), st.booleans())
def test_there_and_back(event: dict[str, Any], arrival: int, seq: int, spaced: bool) -> None:
    """With an own `_meta` and without, written as the lake does and as jq might."""
    fields = read(of_columns(event))
    own = {"event": fields.pop("_meta")} if "_meta" in fields else {}
    line = dump(fields | {"_meta": {"arrival": Decimal(arrival), "seq": Decimal(seq)} | own})
    if spaced:
        line = line.replace('"_meta":', '"_meta" : ')
    found = arrived(line.encode())
    assert found.place == (arrival, seq)
    assert read(found.line) == read(of_columns(event))
    assert list(read(found.line)) == list(fields) + ["_meta"] * bool(own)


@given(columns())
def test_the_loader_takes_what_comes_back(event: dict[str, Any]) -> None:
    line = of_columns(event)
    assert parse(line, 0, LIMITS).user == event["user"]
    assert arrived(line[:-1] + b',"_meta":{"arrival":7,"seq":8}}').line == line or "_meta" in read(line)


@pytest.mark.parametrize(
    "meta",
    [
        '{"arrival":1}', '{"seq":1}', '{"arrival":1,"seq":"2"}', '{"arrival":1.0,"seq":2}', '{"arrival":-1,"seq":2}', "7", "null",
        '{"arrival":1,"seq":2,"offset":3}', '{"arrival":1e3,"seq":2}', '{"partition":0,"offset":3}', "[]",
        '{"arrival":01,"seq":2}', '{"arrival":null,"seq":null}',
        "{}",
    ],
)  # fmt: skip
def test_another_meta_is_a_field_like_all_others(meta: str) -> None:
    line = f'{LINE[:-1]},"_meta":{meta}}}'.encode()
    assert arrived(line) == Arrived(None, line)


@pytest.mark.parametrize(
    "line",
    [
        LINE, "", "{", "[]", '"_meta"', '{"_meta":{"arrival":1,"seq":2}', '{"a":{"b":1,"_meta":{"arrival":1,"seq":2}}}',
        r'{"a":"\",\"_meta\":{\"arrival\":1,\"seq\":2}}"}', '{"a":"_meta"}', '{"a":[{"_meta":{"arrival":1,"seq":2}}]}',
    ],
)  # fmt: skip
def test_a_line_without_ours_stays_as_it_is(line: str) -> None:
    assert arrived(line.encode()) == Arrived(None, line.encode())


def test_an_own_meta_may_look_like_ours() -> None:
    line = f'{LINE[:-1]},"_meta":{{"arrival":1,"seq":2,"event":{{"arrival":3,"seq":4}}}}}}'
    assert arrived(line.encode()) == Arrived((1, 2), f'{LINE[:-1]},"_meta":{{"arrival":3,"seq":4}}}}'.encode())


def test_numbers_keep_their_text() -> None:
    extra = '"a":12345678901234567890.123456789012345678901,"b":1E+400,"c":-0.10'
    line = f'{LINE[:-1]},{extra},"_meta":{{"arrival":1,"seq":2,"event":0.30000000000000004000}}}}'
    assert arrived(line.encode()).line == f'{LINE[:-1]},{extra},"_meta":0.30000000000000004000}}'.encode()


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00Z"),
        (datetime.max.replace(tzinfo=UTC), "9999-12-31T23:59:59.999999Z"),
        (datetime(2021, 1, 16, 12, 34, 56, 100_000, tzinfo=UTC), "2021-01-16T12:34:56.100000Z"),
    ],
)
def test_a_fraction_has_six_digits_or_none(moment: datetime, said: str) -> None:
    columns = {"event": "e", "timestamp": moment, "user": "u", "segment": {"vendor": 1, "name": "s"}, "value": None}
    assert read(of_columns(columns | {"remove": False, "extra": None}))["timestamp"] == said
