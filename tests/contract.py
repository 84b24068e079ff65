"""What the contract makes of a line, by Python's json and the contract's table alone: no code of the loader's.

It is slow and tells all that is wrong with a line, where the loader tells one thing.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

DEEPEST = 256
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
STAMP = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII)
NUMERIC_DIGITS, NUMERIC_SCALE = 131_072, 16_383


class Loaded(NamedTuple):
    """An event as its table has it; numbers in `extra` are decimals."""

    event: str
    timestamp: datetime
    user: str
    vendor: int
    name: str
    value: str | None
    remove: bool
    extra: Any

    @property
    def identity(self) -> tuple[str, datetime, str]:
        """What makes it the same event."""
        return self.event, self.timestamp, self.user


class Integer(Decimal):
    """A number without fraction and exponent."""


def judge(line: bytes, latest: datetime) -> Loaded | set[str] | None:
    """The event that a line is, or every code that it may be rejected with, or None of a blank line."""
    if not line.strip(b" \t\r\n"):
        return None
    twice: list[str] = []
    try:
        fields = parsed(line.decode(), twice)
    except (ValueError, RecursionError):
        return {"invalid_json", *twice}
    faults = set(twice)
    if not isinstance(fields, dict):
        return faults | {"invalid_json"}
    found = Loaded._make([*(checked(check, fields, code, faults) for code, check in CHECKS), extra(fields)])
    if not faults and found.timestamp > latest:
        faults.add("future")
    if deep(fields) > DEEPEST or (found.extra and not all(map(storable, strings(found.extra)))):
        faults.add("invalid_json")
    if not faults and not all(map(numeric, numbers(found.extra))):
        faults.add("refused")
    return faults or found


def parsed(text: str, twice: list[str]) -> Any:
    """The JSON, strictly; `twice` gets a code when an object has a key twice."""

    def fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            twice.append("duplicate_key")
        return dict(pairs)

    def constant(name: str) -> None:
        raise ValueError(name)

    return json.loads(text, object_pairs_hook=fields, parse_int=Integer, parse_float=Decimal, parse_constant=constant)


def checked(check: Callable[[Any], Any], fields: Any, code: str, faults: set[str]) -> Any:
    """What a check finds; where it finds nothing good, its code is a fault."""
    try:
        return check(fields)
    except (AssertionError, KeyError, TypeError, ValueError, OverflowError):
        faults.add(code)
        return None


def event(fields: Any) -> str:
    assert UUID.fullmatch(fields["event"])
    return str(fields["event"]).lower()


def timestamp(fields: Any) -> datetime:
    found = STAMP.fullmatch(fields["timestamp"])
    assert found
    *clock, fraction, sign, hours, minutes = found.groups()
    assert int(hours or 0) < 24
    assert int(minutes or 0) < 60
    ahead = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
    digits = (fraction or "").ljust(7, "0")
    micros = int(digits[:6]) + (digits[6] >= "5")
    return datetime(*map(int, clock), tzinfo=UTC) + (timedelta(microseconds=micros) - ahead)  # type: ignore[arg-type, misc]


def text(found: Any, longest: int) -> str:
    assert isinstance(found, str)
    assert 1 <= len(found) <= longest
    assert storable(found)
    return found


def vendor(fields: Any) -> int:
    found = fields["segment"]["vendor"]
    assert type(found) is Integer
    assert 1 <= found < 1 << 31
    return int(found)


def value(fields: Any) -> str | None:
    if "value" not in fields:
        return None
    assert "remove" not in fields
    assert isinstance(fields["value"], str)
    assert storable(fields["value"])
    return fields["value"]


def remove(fields: Any) -> bool:
    assert fields.get("remove", True) is True
    return "remove" in fields


CHECKS: list[tuple[str, Callable[[Any], Any]]] = [
    ("invalid_event", event),
    ("invalid_timestamp", timestamp),
    ("invalid_user", lambda fields: text(fields["user"], 256)),
    ("invalid_segment", vendor),
    ("invalid_segment", lambda fields: text(fields["segment"]["name"], 32)),
    ("invalid_value", value),
    ("invalid_remove", remove),
]


def extra(fields: dict[str, Any]) -> Any:
    """The fields that the contract does not name, or None."""
    found = {key: fields[key] for key in fields.keys() - {"event", "timestamp", "user", "segment", "value", "remove"}}
    segment = fields.get("segment")
    if isinstance(segment, dict) and (inner := {key: segment[key] for key in segment.keys() - {"vendor", "name"}}):
        found["segment"] = inner
    return found or None


def deep(found: Any) -> int:
    """How many arrays and objects enclose each other, at most."""
    inner = found.values() if isinstance(found, dict) else found if isinstance(found, list) else None
    return 0 if inner is None else 1 + max(map(deep, inner), default=0)


def strings(found: Any) -> list[str]:
    """Every string, keys too."""
    if isinstance(found, dict):
        return [*found, *(each for inner in found.values() for each in strings(inner))]
    if isinstance(found, list):
        return [each for inner in found for each in strings(inner)]
    return [found] if isinstance(found, str) else []


def numbers(found: Any) -> list[Decimal]:
    """Every number."""
    if isinstance(found, dict | list):
        inner = found.values() if isinstance(found, dict) else found
        return [number for each in inner for number in numbers(each)]
    return [found] if isinstance(found, Decimal) else []


def storable(found: str) -> bool:
    """Whether PostgreSQL stores the string."""
    return not re.search("[\0\ud800-\udfff]", found)


def numeric(number: Decimal) -> bool:
    """Whether PostgreSQL's numeric holds the number."""
    _, _, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    return number.adjusted() < NUMERIC_DIGITS and -exponent <= NUMERIC_SCALE
