"""What real streams bring beside clean events: bots, late events, values, redelivered lines, and lines that are no event.

Each function passes a stream on and changes a share of it, by a chance that draws from nothing else: a stream without any is what
it was. Pure: the same stream, share and chance give the same result, on any machine.
"""

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any

BOTS = 5
LATEST = timedelta(days=1)
"""How far in the past a late event may be."""

EARLIER = 20_000
"""Of how many lines one may come again."""

TOO_LONG = 1 << 20
"""More than the loader takes by default, with what else is on the line."""

RARE = 0.01
"""The share of over-long lines in all invalid ones: each weighs as much as thousands of others."""

_USER = len('"user":"usr-000000"')
_VALUES = 100

Fault = Callable[[bytes], bytes]


def with_bots(changes: Iterator[str], share: float, chance: Random) -> Iterator[str]:
    """Let a handful of users be the ones whom a share of the changes is about."""
    for change in changes:
        if chance.random() < share:
            yield f'"user":"bot-{int(chance.random() * BOTS)}"{change[_USER:]}'
        else:
            yield change


def with_values(changes: Iterator[str], share: float, chance: Random) -> Iterator[str]:
    """Give a share of the adds a value."""
    for change in changes:
        if change.endswith("}}") and chance.random() < share:
            yield f'{change[:-1]},"value":"value-{int(chance.random() * _VALUES)}"}}'
        else:
            yield change


def with_late(timestamps: Iterator[str], share: float, chance: Random) -> Iterator[str]:
    """Move a share of the timestamps into the past, up to a day."""
    for timestamp in timestamps:
        if chance.random() < share:
            moment = datetime.fromisoformat(timestamp) - LATEST * (1 - chance.random())
            yield moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
        else:
            yield timestamp


def with_faults(lines: Iterator[bytes], duplicates: float, invalid: float, chance: Random) -> Iterator[bytes]:
    """Replace a share of the lines by earlier ones, byte for byte, and another by lines that are no valid event; never the first.

    `duplicates` and `invalid` are at most 1 together. Only valid lines come again.
    """
    earlier: list[bytes] = []
    for line in lines:
        drawn = chance.random()
        if earlier and drawn < invalid:
            yield _invalid(line, earlier, chance)
        elif earlier and drawn < invalid + duplicates:
            yield _one(earlier, chance)
        else:
            if len(earlier) < EARLIER:
                earlier.append(line)
            else:
                earlier[int(chance.random() * EARLIER)] = line
            yield line


def _one(of: list[bytes], chance: Random) -> bytes:
    return of[int(chance.random() * len(of))]


def _invalid(line: bytes, earlier: list[bytes], chance: Random) -> bytes:
    """Return a line that is rejected, made of this one or, for a conflict, of an earlier one."""
    code = "too_long" if chance.random() < RARE else CODES[int(chance.random() * len(CODES))]
    spoilt = _one(earlier, chance) if code == "conflict" else line
    faults = FAULTS[code]
    return faults[int(chance.random() * len(faults))](spoilt.rstrip(b"\n")) + b"\n"


def _with(**fields: Any) -> Fault:
    """A fault: these fields are other ones."""
    return lambda line: _dumped(json.loads(line) | fields)


def _without(name: str) -> Fault:
    """A fault: a field is missing."""
    return lambda line: _dumped({key: value for key, value in json.loads(line).items() if key != name})


def _and(text: bytes) -> Fault:
    """A fault: there is more in the object."""
    return lambda line: b"%b,%b}" % (line[:-1], text)


def _dumped(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _never_removed(line: bytes) -> bytes:
    document = json.loads(line) | {"remove": False}
    document.pop("value", None)  # beside a value, that would be what is wrong
    return _dumped(document)


FAULTS: dict[str, tuple[Fault, ...]] = {
    "invalid_json": (
        lambda line: line[: len(line) // 2],
        lambda line: b"[%b]" % line,
        _and(b'"note":"\xff"'),
        _and(b'"note":"\\u0000"'),
        _and(b'"deep":' + b"[" * 300 + b"]" * 300),
    ),
    "duplicate_key": (_and(b'"user":"again"'),),
    "invalid_event": (_without("event"), _with(event="42")),
    "invalid_timestamp": (
        _without("timestamp"),
        _with(timestamp=1_769_904_000),
        _with(timestamp="yesterday"),
        _with(timestamp="2026-01-31T12:00:00"),
        _with(timestamp="2026-02-30T12:00:00Z"),
    ),
    "invalid_user": (_without("user"), _with(user=""), _with(user=42), _with(user="u" * 257)),
    "invalid_segment": (
        _without("segment"),
        _with(segment={"vendor": 0, "name": "seg-0"}),
        _with(segment={"vendor": "1", "name": "seg-0"}),
        _with(segment={"vendor": 1, "name": "s" * 33}),
    ),
    "invalid_value": (_with(value=None), _with(value="gold", remove=True)),
    "invalid_remove": (_never_removed,),
    "future": (_with(timestamp="9999-12-31T23:59:59Z"),),
    "too_long": (_and(b'"padding":"%b"' % (b"x" * TOO_LONG)),),
    "conflict": (_and(b'"other":"content"'),),
    "refused": (_and(b'"number":1e200000'),),
}
"""By the reject's code. `conflict` and `refused` are a database's to find; `expired`, which takes a horizon, is not here."""

CODES = [code for code in FAULTS if code != "too_long"]
