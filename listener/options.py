"""What an option's text means, each error one sentence; and the options that several commands have."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from listener.toggles import parse_only, utf8
from listener.webhook import parse_secret, parse_url

SHORTEST_TIMEOUT, LONGEST_TIMEOUT = 0.01, 3600

MOST_SECRETS = 2
"""The one in use and, while it is being replaced, the next."""

UNITS = {"": 1, "kib": 1 << 10, "mib": 1 << 20}


def size(text: str) -> int:
    """Bytes of a size such as 65536, 64KiB or 4MiB."""
    found = re.fullmatch(r"([1-9]\d{0,12})([a-z]*)", text.lower())
    if not found or found[2] not in UNITS:
        raise click.BadParameter(f"{text!r} is no size: write it like 65536, 64KiB or 4MiB.")
    return int(found[1]) * UNITS[found[2]]


def seconds(text: str) -> float:
    """A number of seconds, from a hundredth to an hour."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not SHORTEST_TIMEOUT <= found <= LONGEST_TIMEOUT:
        raise click.BadParameter(f"{text!r} is not in the range of {SHORTEST_TIMEOUT} to {LONGEST_TIMEOUT} seconds.")
    return found


def slot_name(text: str) -> str:
    """What PostgreSQL takes as the name of a replication slot."""
    if not re.fullmatch(r"[a-z0-9_]{1,63}", text):
        raise click.BadParameter(f"{text!r} is no slot's name: lower-case letters, digits and _ make one.")
    return text


def moment(text: str) -> datetime:
    """An aware datetime of an RFC 3339 date-time or a date; without an offset it is UTC."""
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{text!r} is no time: write it like 2026-01-31 or 2026-01-31T12:00:00Z.") from None


def user_id(text: str) -> str:
    """What may be a user: bytes on the command line that are no UTF-8 are nobody's name."""
    if text and not utf8(text):
        raise click.BadParameter("a user's name is UTF-8.")
    return text


def checked_url(_context: click.Context, _parameter: click.Parameter, url: str) -> str:
    """A URL that can be posted to."""
    if url:
        parse_url(url)
    return url


def parsed_secrets(_context: click.Context, _parameter: click.Parameter, secrets: tuple[str, ...]) -> tuple[bytes, ...]:
    """The keys in one or two secrets."""
    if len(secrets) > MOST_SECRETS:
        raise click.BadParameter("two secrets at most: the one in use and its successor.")
    return tuple(map(parse_secret, secrets))


def parsed_only(_context: click.Context, _parameter: click.Parameter, only: tuple[str, ...]) -> list[str]:
    """Vendors and segments, each once, in an order of their own."""
    return sorted(set(map(parse_only, only)))


def parsed_segments(context: click.Context, parameter: click.Parameter, segments: tuple[str, ...]) -> list[str]:
    """Segments, as `parsed_only` has them."""
    return parsed_only(context, parameter, tuple(f"segment={segment}" for segment in segments))


slot_option = click.option(
    "--slot", type=slot_name, default="segment_webhook", show_default=True, help="Replication slot, one for each webhook."
)

log_option = click.option("--log-json", is_flag=True, help="Log JSON, one object a line.")

publication_option = click.option(
    "--publication", type=click.Choice(["segment_toggles", "segment_changes"]), default="segment_toggles", show_default=True,
    help="What to post: segment_changes adds first adds and first removes.",
)  # fmt: skip

POSTING = [
    click.option("--max-documents", type=click.IntRange(1), default=10_000, show_default=True, help="Most documents in a call."),
    click.option("--max-bytes", type=size, default="4MiB", show_default=True, help="Largest body, before compression."),
    click.option("--timeout", type=seconds, default="30", show_default=True, help="Seconds that a call may take."),
    click.option("--gzip", "compress", is_flag=True, help="Compress the bodies."),
    click.option("--secret", "secrets", multiple=True, envvar="WEBHOOK_SECRET", show_envvar=True, callback=parsed_secrets,
                 help="Sign by it: whsec_ and base64; two to rotate. Better in the variable: others see command lines."),
]  # fmt: skip

Command = Callable[..., Any]


def posting(command: Command) -> Command:
    """The options of a command that posts."""
    for option in reversed(POSTING):
        command = option(command)
    url = click.option(
        "--url", required=True, envvar="WEBHOOK_URL", show_envvar=True, callback=checked_url, help="Where to post."
    )
    return url(command)
