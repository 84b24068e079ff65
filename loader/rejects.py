"""The quarantine, read."""

from datetime import datetime
from typing import NamedTuple, cast

from loader.database import Connection
from loader.errors import NoSuchReject

LATEST = "select reject_id, source, position, code, reason from segment_rejects order by reject_id desc limit %s"

ONE = """
select source, position, bytes, length, code, reason, rejected_at from segment_rejects where reject_id = %s
"""

Bytes = bytes  # for a class with a field of that name


class Rejected(NamedTuple):
    """A line in quarantine."""

    source: str
    position: int
    bytes: Bytes
    length: int
    code: str
    reason: str
    rejected_at: datetime


def list_rejects(connection: Connection, limit: int) -> list[tuple[object, ...]]:
    """The latest rejects, newest first: number, source, position, code, reason."""
    return connection.execute(LATEST, [limit]).fetchall()


def find_reject(connection: Connection, number: int) -> Rejected:
    """One reject by its number; raise NoSuchReject when there is none."""
    found = connection.execute(ONE, [number]).fetchone()
    if found is None:
        raise NoSuchReject(f"There is no reject {number}: loader rejects list shows those there are.")
    return Rejected(*cast(tuple[str, int, bytes, int, str, str, datetime], found))
