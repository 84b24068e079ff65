"""The quarantine, read: the latest, one, or all of a selection, a page at a time."""

import base64
import json
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import NamedTuple, cast

from loader.database import Connection, Session
from loader.errors import NoSuchReject

LATEST = "select reject_id, source, position, code, reason from segment_rejects order by reject_id desc limit %s"

COLUMNS = "reject_id, source, position, bytes, length, sha256, code, reason, rejected_at"

ONE = f"select {COLUMNS} from segment_rejects where reject_id = %s"  # noqa: S608 - constants

NEWEST = "select coalesce(max(reject_id), 0) from segment_rejects"

# At most 1000 and, but for the first line, 8 MiB. What is left out is not read: a length needs none of a large value's bytes.
PAGE = """
select {columns}
from (
  select *, sum(octet_length(bytes)) over (order by reject_id) - octet_length(bytes) as before
  from (
    select {columns} from segment_rejects
    where reject_id > %(after)s and reject_id <= %(newest)s{selected}
    order by reject_id limit 1000
  ) rejects
) rejects
where before < 8388608
order by reject_id
"""

Bytes = bytes  # for a class with a field of that name


class Rejected(NamedTuple):
    """A line in quarantine; `sha256` of the whole line is there where `bytes` is only its beginning."""

    number: int
    source: str
    position: int
    bytes: Bytes
    length: int
    sha256: Bytes | None
    code: str
    reason: str
    rejected_at: datetime


class Selection(NamedTuple):
    """Which rejects: those that fit all that is given."""

    numbers: tuple[int, ...] = ()
    code: str | None = None
    source: str | None = None

    def condition(self) -> str:
        """What to add to a WHERE; its parameters are the fields."""
        texts = ("reject_id = any (%(numbers)s)", "code = %(code)s", "source = %(source)s")
        return "".join(f" and {text}" for text, given in zip(texts, self, strict=True) if given not in (None, ()))


def list_rejects(connection: Connection, limit: int) -> list[tuple[object, ...]]:
    """The latest rejects, newest first: number, source, position, code, reason."""
    return connection.execute(LATEST, [limit]).fetchall()


def find_reject(connection: Connection, number: int) -> Rejected:
    """One reject by its number; raise NoSuchReject when there is none."""
    found = connection.execute(ONE, [number]).fetchone()
    if found is None:
        raise NoSuchReject(f"There is no reject {number}: loader rejects list shows those there are.")
    return rejected(found)


def pages(session: Session, selection: Selection) -> Iterator[list[Rejected]]:
    """The selected rejects that there are now, by number, as many at a time as memory holds with ease.

    In the end raise NoSuchReject if a number was selected that there is not.
    """
    missing = set(selection.numbers)
    newest = session.run(lambda connection: connection.execute(NEWEST).fetchone())
    bounds = {"newest": newest and newest[0], "after": 0}
    query = PAGE.format(columns=COLUMNS, selected=selection.condition())
    values = selection._asdict() | {"numbers": list(selection.numbers)}
    while page := session.run(partial(read_page, query=query, values=values | bounds)):
        yield page
        bounds["after"] = page[-1].number
        missing.difference_update(reject.number for reject in page)
    if missing:
        numbers = ", ".join(map(str, sorted(missing)))
        raise NoSuchReject(f"Not in quarantine, or not with that code and source: {numbers}; loader rejects list shows what is.")


def read_page(connection: Connection, query: str, values: dict[str, object]) -> list[Rejected]:
    """The rejects that a query finds."""
    return list(map(rejected, connection.execute(query.encode(), values).fetchall()))


def rejected(row: tuple[object, ...]) -> Rejected:
    """A row of COLUMNS."""
    return Rejected(*cast(tuple[int, str, int, bytes, int, bytes | None, str, str, datetime], row))


def exported(reject: Rejected) -> bytes:
    """The reject as a line of NDJSON."""
    fields = reject._asdict() | {"rejected_at": f"{reject.rejected_at:%Y-%m-%dT%H:%M:%S.%fZ}"}
    digest, raw = fields.pop("sha256"), fields.pop("bytes")
    if digest:
        fields["sha256"] = digest.hex()
    try:
        fields["line"] = raw.decode()
    except UnicodeDecodeError:
        fields["base64"] = base64.b64encode(raw).decode()
    return json.dumps(fields, ensure_ascii=False).encode() + b"\n"
