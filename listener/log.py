"""What the listener says while it runs: one line an event on stderr, for people or as JSON."""

import json
import logging
import sys
from datetime import UTC, datetime
from enum import IntEnum

LOGGER = logging.getLogger("listener")


class Level(IntEnum):
    """How much it matters."""

    INFO = logging.INFO
    WARNING = logging.WARNING
    ERROR = logging.ERROR


def say(level: Level, message: str, **fields: object) -> None:
    """Log an event with its figures."""
    LOGGER.log(level, message, extra={"fields": fields})


def log_to_stderr(as_json: bool) -> None:
    """Write this package's log, and no other's, to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSON() if as_json else Text())
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False


class Text(logging.Formatter):
    """`2026-11-24T13:00:00.123Z INFO delivered documents=3 milliseconds=12`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        fields = "".join(f" {name}={shown(value)}" for name, value in getattr(record, "fields", {}).items())
        return f"{moment(record)} {record.levelname} {record.getMessage()}{fields}"


class JSON(logging.Formatter):
    """One object a line: time, level, message and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        head = {"time": moment(record), "level": record.levelname.lower(), "message": record.getMessage()}
        return json.dumps(head | getattr(record, "fields", {}), default=str, ensure_ascii=False)


def moment(record: logging.LogRecord) -> str:
    """When it happened, in UTC."""
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shown(value: object) -> str:
    """A value, in quotes where it has spaces, quotes or what could break the line."""
    text = str(value)
    printable = text.isprintable()
    if text and printable and not set(text) & set(' "'):
        return text
    return json.dumps(text, ensure_ascii=not printable)
