"""The contract of one event: what a line must hold, and the row or the reject that it becomes.

`parse` is the strict path: it judges any one line, and whatever reads events faster must agree with it. It returns
a row in PostgreSQL's COPY text format or raises `Invalid`, whose code is one of

    invalid_json       not UTF-8, not JSON, not an object, nested too deep, or text that PostgreSQL cannot store
    duplicate_key      an object, at any level, holds a key twice
    invalid_event      `event` is missing or no UUID
    invalid_timestamp  `timestamp` is missing, no RFC 3339 date-time, or outside the years 1 to 9999 in UTC
    invalid_user       `user` is missing, no string, empty or too long
    invalid_segment    `segment`, its vendor or its name is missing or wrong
    invalid_value      `value` is no string, or stands beside `remove`
    invalid_remove     `remove` is anything but true
    future, expired    later than `Limits.latest`, earlier than `Limits.horizon`; only a line without other faults

and `too_long`, which is for the splitter of lines to raise. A reason is one sentence of bounded length that quotes
at most some forty characters of what was found.

Timestamps and ids stay the text that came where PostgreSQL reads that text with the same meaning. Fields that the
contract does not name stay the JSON text that came. No number passes through a float or a limited integer.

Nothing here reads a clock, opens a file or knows a driver.
"""

import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, NoReturn
from zlib import crc32

import msgspec

MAX_DEPTH = 256
"""How many arrays and objects may enclose each other; the line's own object is the first. PostgreSQL's jsonb takes
some ten thousand with its default stack, so that whoever reads an event back runs out long before it does."""

Bytes = bytes  # for a class with a field of that name


NAMED = frozenset(("event", "timestamp", "user", "segment", "value", "remove"))
NAMED_IN_SEGMENT = frozenset(("vendor", "name"))
_UUID = re.compile("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TIMESTAMP = re.compile(
    "([0-9]{4}-[0-9]{2}-[0-9]{2})T((?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])"
    "(?:[.]([0-9]+))?(Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
# Every escape of a valid document in turn, so that an escaped backslash before a `u` is not taken for a `\u`.
_ESCAPE = re.compile(r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u0000|u[dD][89a-fA-F]..)|.)", re.DOTALL)
# An unterminated string matches to the end of the line: one pass, whatever the line holds.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_BRACKET = re.compile(r"[][{}]")
_COPY_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_MICROSECOND_DIGITS = 6
_DATE_TIME = "an RFC 3339 date-time with its offset"
_QUOTED = 40
_COUNTED = 30


class Invalid(ValueError):  # noqa: N818 - it tells of a line, not of the program
    """The line is not a valid event: the code says which rule it breaks, the reason what was found.

    `user` is given where another moment would judge otherwise: such a line stays in its user's bucket, valid or not.
    """

    def __init__(self, code: str, reason: str, user: str | None = None) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.user = user


class Limits(NamedTuple):
    """Which timestamps to take, both bounds included; both are aware datetimes."""

    latest: datetime
    horizon: datetime | None


class Row(NamedTuple):
    """A valid event, ready for COPY."""

    position: int
    """Byte offset of the line's start in its source."""
    bucket: int
    """0 to 15, the same for all events of a user."""
    user: str
    copy: str
    """COPY's text format, one line: user_id, occurred_at, event_id, vendor, segment_name, value, remove, extra."""
    line: bytes
    """The line as it came, without its line end."""

    @property
    def day(self) -> str:
        """UTC day of the timestamp, `YYYY-MM-DD`."""
        return self.copy.split("\t", 2)[1][:10]


class Reject(NamedTuple):
    """An invalid line, whole or (when longer than any line may be) its beginning."""

    position: int
    bucket: int
    """0 to 15, from the position, as there may be no user to go by; of codes future and expired from the user."""
    bytes: bytes
    length: int
    """Bytes of the whole line without its line end."""
    sha256: Bytes | None
    """Of the whole line; None when `bytes` is the whole line."""
    code: str
    reason: str


class _Number(str):
    """A JSON number's text: no value is made of it before somebody asks."""

    __slots__ = ()


class _Integer(_Number):
    """A JSON number without fraction and exponent."""

    __slots__ = ()


def bucket(data: bytes) -> int:
    """Return which of 16 buckets the data falls into, the same on every machine."""
    return crc32(data) & 15


def reject(line: bytes, position: int, invalid: Invalid) -> Reject:
    """Return the reject of a whole line."""
    found = position_bucket(position) if invalid.user is None else bucket(invalid.user.encode())
    return Reject(position, found, line, len(line), None, invalid.code, invalid.reason)


def position_bucket(position: int) -> int:
    """Return the bucket of a line of which only the position is known."""
    return bucket(position.to_bytes(8, "big"))


def parse(line: bytes, position: int, limits: Limits) -> Row:
    """Return the row of one line (without its line end), or raise Invalid."""
    text = _text(line)
    document = _document(text)
    event = _event(document)
    timestamp, moment = _timestamp(document)
    user = _string(document, "user", "invalid_user", 256)
    segment = _segment(document)
    vendor = _vendor(segment)
    name = _string(segment, "name", "invalid_segment", 32, "segment.name")
    value, remove = _change(document)
    if "\\u" in text:
        _check_escapes(text)
    _check_limits(moment, limits, user)
    extra = _extra(text, document, segment)
    copy = _copy((user, timestamp, event, vendor, name, value, remove, extra))
    return Row(position, bucket(user.encode()), user, copy, line)


def _copy(columns: tuple[str | None, ...]) -> str:
    return "\t".join(["\\N" if column is None else column.translate(_COPY_ESCAPES) for column in columns]) + "\n"


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise Invalid("invalid_json", f"the line is not UTF-8: {error.reason} after {error.start} good bytes") from None


def _document(text: str) -> dict[str, Any]:
    _check_depth(text)
    try:
        document = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise Invalid("invalid_json", f"the line is not JSON: {_fault(error)} at character {error.pos + 1}") from None
    except RecursionError:
        _too_deep()
    if type(document) is not dict:
        raise Invalid("invalid_json", f"the line is {_shown(document)}, not a JSON object")
    return document


def check_value(text: str) -> None:
    """Check that a valid JSON value within a line's objects is not nested too deep and has no duplicate keys."""
    if text.count("[") + text.count("{") > MAX_DEPTH - 2:
        _too_deep()
    _DECODER.decode(text)


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            _too_deep()


def _too_deep() -> NoReturn:
    raise Invalid("invalid_json", f"arrays and objects are nested more than {MAX_DEPTH} deep") from None


def _fault(error: json.JSONDecodeError) -> str:
    if error.doc.startswith("\ufeff"):
        return "a byte order mark"
    return error.msg.removesuffix(" at")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        key, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise Invalid("duplicate_key", f"the key {_shown(key)} stands more than once in one object")
    return fields


def _constant(name: str) -> NoReturn:
    raise Invalid("invalid_json", f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_Integer, parse_float=_Number, parse_constant=_constant)
_RAW_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _event(document: dict[str, Any]) -> str:
    event = document.get("event")
    if type(event) is not str or not _UUID.fullmatch(event):
        raise Invalid("invalid_event", _wrong(document, "event", "a UUID in its 36-character form"))
    return event


def _timestamp(document: dict[str, Any]) -> tuple[str, datetime]:
    text = document.get("timestamp")
    if type(text) is not str:
        raise Invalid("invalid_timestamp", _wrong(document, "timestamp", _DATE_TIME))
    return utc(text)


def utc(text: str) -> tuple[str, datetime]:
    """Return the timestamp in UTC, as text that ends in `Z` and as a datetime, or raise Invalid.

    The text is the one that came where PostgreSQL reads it with the same meaning, but for a lower-case `t` or `z` and
    for `+00:00`.
    """
    match = _TIMESTAMP.fullmatch(text.upper())
    if not match:
        raise Invalid("invalid_timestamp", _wrong({"timestamp": text}, "timestamp", _DATE_TIME))
    try:
        return _utc(match)
    except (ValueError, OverflowError):
        wanted = "an existing day and time within the years 1 to 9999 in UTC"
        raise Invalid("invalid_timestamp", _wrong({"timestamp": text}, "timestamp", wanted)) from None


def _utc(match: re.Match[str]) -> tuple[str, datetime]:
    text, day, clock, fraction, offset = match.group(0, 1, 2, 3, 4)
    digits = fraction or ""
    # Half up, where PostgreSQL goes to the even one.
    micros = int(digits[:_MICROSECOND_DIGITS].ljust(_MICROSECOND_DIGITS, "0"))
    micros += digits[_MICROSECOND_DIGITS : _MICROSECOND_DIGITS + 1] >= "5"
    moment = _shifted(day, clock, timedelta(microseconds=micros) - _offset(offset))
    if offset in ("Z", "+00:00") and len(digits) <= _MICROSECOND_DIGITS:
        return text.removesuffix(offset) + "Z", moment
    # PostgreSQL takes no offset from 16 hours on.
    return moment.isoformat().removesuffix("+00:00") + "Z", moment


def _offset(text: str) -> timedelta:
    if text == "Z":
        return timedelta()
    minutes = int(text[1:3]) * 60 + int(text[4:])
    return timedelta(minutes=-minutes if text[0] == "-" else minutes)


def _shifted(day: str, clock: str, shift: timedelta) -> datetime:
    """Return the moment in UTC; year 0, which has no datetime, is lived 400 years later, in an equal calendar."""
    if not day.startswith("0000"):
        return datetime.fromisoformat(f"{day}T{clock}+00:00") + shift
    moment = datetime.fromisoformat(f"0400{day[4:]}T{clock}+00:00") + shift
    return moment.replace(year=moment.year - 400)


def _segment(document: dict[str, Any]) -> dict[str, Any]:
    segment = document.get("segment")
    if type(segment) is not dict:
        raise Invalid("invalid_segment", _wrong(document, "segment", "an object with vendor and name"))
    return segment


def _vendor(segment: dict[str, Any]) -> str:
    vendor = segment.get("vendor")
    if type(vendor) is not _Integer or len(vendor) > len("2147483647") or not 1 <= int(vendor) <= 2**31 - 1:
        wanted = "an integer from 1 to 2147483647, without fraction and exponent"
        raise Invalid("invalid_segment", _wrong(segment, "vendor", wanted, "segment.vendor"))
    return vendor


def _string(fields: dict[str, Any], key: str, code: str, longest: int, path: str = "") -> str:
    """Return a required string of 1 to `longest` code points."""
    text = fields.get(key)
    if type(text) is not str or not 1 <= len(text) <= longest:
        raise Invalid(code, _wrong(fields, key, f"a string of 1 to {longest} characters", path))
    return _storable(text, code, path or key)


def _change(document: dict[str, Any]) -> tuple[str | None, str]:
    """Return the columns value and remove."""
    if "value" in document and "remove" in document:
        raise Invalid("invalid_value", "value stands beside remove, but only an added segment has a value")
    if "remove" in document:
        if document["remove"] is not True:
            raise Invalid("invalid_remove", _wrong(document, "remove", "true or absent"))
        return None, "t"
    if "value" not in document:
        return None, "f"
    value = document["value"]
    if type(value) is not str:
        raise Invalid("invalid_value", _wrong(document, "value", "a string or absent"))
    return _storable(value, "invalid_value", "value"), "f"


def _storable(text: str, code: str, path: str) -> str:
    if _UNSTORABLE.search(text):
        raise Invalid(code, f"{path} holds U+0000 or a lone surrogate, which PostgreSQL cannot store")
    return text


def _check_escapes(text: str) -> None:
    for match in _ESCAPE.finditer(text):
        if match[1]:
            reason = f"an unnamed field or a key holds \\{match[1]}, which PostgreSQL cannot store"
            raise Invalid("invalid_json", reason)


def _check_limits(moment: datetime, limits: Limits, user: str) -> None:
    if moment > limits.latest:
        latest = limits.latest.astimezone(UTC).isoformat()
        raise Invalid("future", f"timestamp {moment.isoformat()} is later than {latest}, the latest accepted", user)
    if limits.horizon is not None and moment < limits.horizon:
        horizon = limits.horizon.astimezone(UTC).isoformat()
        raise Invalid("expired", f"timestamp {moment.isoformat()} is older than the horizon, {horizon}", user)


def _extra(text: str, document: dict[str, Any], segment: dict[str, Any]) -> str | None:
    """Return the fields that the contract does not name as the JSON text that came, or None."""
    if document.keys() <= NAMED and segment.keys() <= NAMED_IN_SEGMENT:
        return None
    raw = _RAW_FIELDS.decode(text)
    members = _members(raw, NAMED)
    if inner := _members(_RAW_FIELDS.decode(raw["segment"]), NAMED_IN_SEGMENT):
        members.append(f'"segment":{{{",".join(inner)}}}')
    return f"{{{','.join(members)}}}"


def _members(raw: dict[str, msgspec.Raw], known: frozenset[str]) -> list[str]:
    return [f"{json.dumps(key, ensure_ascii=False)}:{bytes(value).decode()}" for key, value in raw.items() if key not in known]


def _wrong(fields: dict[str, Any], key: str, wanted: str, path: str = "") -> str:
    found = f"is {_shown(fields[key])}" if key in fields else "is missing"
    return f"{path or key} {found}; it must be {wanted}"


def _shown(value: object) -> str:
    """Return what was found in ASCII, cut to some forty characters."""
    if isinstance(value, _Number):
        return f"the number {_cut(value)}"
    if isinstance(value, str):
        return ascii(_cut(value)) + (f" of {len(value)} characters" if len(value) > _COUNTED else "")
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    return json.dumps(value)


def _cut(text: str) -> str:
    return text if len(text) <= _QUOTED else text[:_QUOTED] + "..."
