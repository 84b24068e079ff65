"""What an option's text means: durations, sizes, moments and numbers, each error one sentence of click's."""

from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any

import click

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20}
LONGEST_LINE = 16 << 20
"""Bytes that any line may have: short numbers take sixty times as much while they are read, and PostgreSQL a gigabyte."""


def duration(text: str) -> float:
    """Seconds of a duration such as 100ms, 60s, 5m, 2h or 1d; a bare number is seconds."""
    number, unit = split_unit(text)
    try:
        seconds = float(number) * SECONDS[unit or "s"]
        timedelta(seconds=seconds)
    except (ValueError, KeyError, OverflowError):
        raise click.BadParameter(f"{text!r} is no duration: write it like 100ms, 60s, 5m or 1d.") from None
    if seconds < 0:
        raise click.BadParameter(f"{text!r} is negative: a duration cannot be.")
    return seconds


def line_size(text: str) -> int:
    """Bytes of a size such as 65536, 64KiB or 1MiB, up to that of the longest line."""
    number, unit = split_unit(text)
    try:
        found = int(number) * BYTES[unit]
    except (ValueError, KeyError):
        raise click.BadParameter(f"{text!r} is no size: write it like 65536, 64KiB or 1MiB.") from None
    if found < 1:
        raise click.BadParameter(f"{text!r} is no size: at least one byte is needed.")
    if found > LONGEST_LINE:
        raise click.BadParameter(f"{text!r} is too much: a line may have {LONGEST_LINE >> 20}MiB at most.")
    return found


def timestamp(text: str) -> datetime:
    """An aware datetime of an RFC 3339 date-time or a date; without an offset it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{text!r} is no timestamp: write it like 2026-01-31 or 2026-01-31T12:00:00Z.") from None


def split_unit(text: str) -> tuple[str, str]:
    """The number, and the letters after it in lower case."""
    unit = text.lstrip("+-.0123456789")
    return text.removesuffix(unit), unit.lower()


class FiniteRange(click.FloatRange):
    """A range of numbers without infinity and without NaN, which every comparison lets pass."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return a finite number."""
        rate: float = super().convert(value, param, ctx)
        if not isfinite(rate):
            self.fail(f"{value!r} is no finite number.", param, ctx)
        return rate


share = FiniteRange(0, 1)

max_future_option = click.option(
    "--max-future", type=duration, default="1d", show_default=True, help="How far in the future a timestamp may be."
)
max_line_option = click.option(
    "--max-line", type=line_size, default="1MiB", show_default=True, help="Longest line, up to 16MiB; a longer one is rejected."
)
