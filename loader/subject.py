"""Whom a line may be about, though it be no event: what erasure searches the quarantine for. Pure."""

import json
import re
from contextlib import suppress

_KEY = re.compile(r"user(?:[ _-]?(?:id|name))?", re.IGNORECASE)
_USER = re.compile(rb'"%b"\s*:\s*("(?:[^"\\]|\\.)*)' % _KEY.pattern.encode(), re.IGNORECASE | re.DOTALL)


def users(line: bytes) -> set[str]:
    """Every user that a line names, as a field of such a name at any depth, or as text that looks like one.

    Without what PostgreSQL cannot store, which is no user's name.
    """
    found: set[str] = set()

    def note(pairs: list[tuple[str, object]]) -> None:
        found.update(value for name, value in pairs if _KEY.fullmatch(name) and isinstance(value, str))

    text = line.decode(errors="surrogateescape")
    with suppress(ValueError, RecursionError):  # of what is no JSON, only what looks like a user
        json.loads(text, object_pairs_hook=note)
    for quoted in _USER.findall(line):
        found.update(unquoted(quoted))
    return set(filter(storable, found))


def unquoted(quoted: bytes) -> list[str]:
    """The string that a JSON literal stands for, whose end may be cut off; none, where it is no literal."""
    try:
        return [json.loads(quoted.decode() + '"', strict=False)]
    except ValueError:
        return []


def storable(name: str) -> bool:
    """Whether PostgreSQL can store it."""
    try:
        return "\0" not in name and bool(name.encode())
    except UnicodeEncodeError:
        return False
