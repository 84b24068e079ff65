"""Lines of the lake and the events in them: the contract's line, and beside its fields `_meta` with arrival and seq.

An event's own `_meta` stands in ours as `event`, and comes back. `_meta` of any other shape is not ours: it is a field of the
event's like all others, and the line has no place in the order of arrival.

Numbers stay the text that they are. Nothing here reads a clock, opens a file or knows a driver.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

OURS = frozenset(("arrival", "seq", "event"))
_INTEGER = re.compile(rb"0|[1-9][0-9]{0,18}")
_TAIL = re.compile(rb',"_meta":\{"arrival":(%b),"seq":(%b)\}\}$' % ((_INTEGER.pattern,) * 2))
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Arrived(NamedTuple):
    """An event's line, without its line end, and its place in the order of arrival; None: the lake does not say."""

    place: tuple[int, int] | None
    line: bytes


def arrived(line: bytes) -> Arrived:
    """Take our `_meta` out of a line; a line that has none, or is no event, stays as it is."""
    if found := _TAIL.search(line):  # no string holds a quote that is not escaped: what ends the line ends its object
        return Arrived((int(found[1]), int(found[2])), line[: found.start()] + b"}")
    if b'"_meta"' not in line:
        return Arrived(None, line)
    try:
        fields = _FIELDS.decode(line)
        meta = _FIELDS.decode(fields["_meta"])
    except (msgspec.DecodeError, KeyError, RecursionError):
        return Arrived(None, line)
    place = [bytes(meta.get(name, b"")) for name in ("arrival", "seq")]
    if not meta.keys() <= OURS or not all(map(_INTEGER.fullmatch, place)):
        return Arrived(None, line)
    del fields["_meta"]
    if "event" in meta:
        fields["_meta"] = meta["event"]
    return Arrived((int(place[0]), int(place[1])), f"{{{','.join(members(fields))}}}".encode())


def of_columns(columns: Mapping[str, Any]) -> bytes:
    """The line of an event as Parquet has it: its own `_meta` stands in `extra` like every field that is not named."""
    extra = _FIELDS.decode(columns["extra"] or "{}")
    of_segment = _FIELDS.decode(extra.pop("segment", b"{}"))
    segment = [f'"vendor":{columns["segment"]["vendor"]}', f'"name":{text(columns["segment"]["name"])}', *members(of_segment)]
    fields = [
        f'"event":"{columns["event"]}"',
        f'"timestamp":"{timestamp(columns["timestamp"])}"',
        f'"user":{text(columns["user"])}',
        f'"segment":{{{",".join(segment)}}}',
    ]
    if columns["value"] is not None:
        fields.append(f'"value":{text(columns["value"])}')
    if columns["remove"]:
        fields.append('"remove":true')
    return f"{{{','.join([*fields, *members(extra)])}}}".encode()


def members(fields: Mapping[str, msgspec.Raw]) -> list[str]:
    """Fields as they stand in an object, their values as the text that came."""
    return [f"{text(name)}:{bytes(value).decode()}" for name, value in fields.items()]


def text(value: str) -> str:
    """A string as JSON."""
    return json.dumps(value, ensure_ascii=False)


def timestamp(moment: datetime) -> str:
    """A moment in UTC, with a fraction of six digits or none."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
