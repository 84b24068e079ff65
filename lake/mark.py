"""Whose lake a destination is: a file at its root names the database, and the destination by the name that it goes by there.

Nothing else tells a disk that is not mounted from a new folder, or one folder under two names from two. The mark also names the
server's timeline: a standby that took its primary's place may lack what that had exported last. So wherever the mark's server is
not quite this one, the files are compared with those that are recorded before anything is written.
"""

import json
from typing import NamedTuple

from lake import ledger
from lake.database import one
from lake.errors import BehindTheLake, Forgotten, KnownAs, LakeOfOther, NotOurs, NotTheLake, TakenOver, UnreadableMark
from lake.layout import is_events
from lake.store import Store
from loader.database import Connection

OWN = """
select (select system_identifier from pg_control_system())::text, oid::text from pg_database where datname = current_database()
"""

TIMELINE = "select left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)"
"""A server in recovery, which `lake verify` may look at, does not tell it."""


class Mark(NamedTuple):
    """What the file says. On the same server a copy of a database has another oid, on another server the server tells."""

    system_identifier: str
    database: str
    destination: str
    timeline: str = ""
    """Eight hexadecimal digits; empty in marks from before it was kept."""


def take(connection: Connection, store: Store, form: str, take_over: bool = False) -> None:
    """Take the destination where it is new, or from another database; raise unless this database may export to it."""
    if take_over:
        inherit(connection, store, form)
    if hold(connection, store, form):
        return
    store.prepare()
    if store.sizes():
        raise NotOurs
    ledger.begin(connection, store.name, form)  # first: a mark that the database knows nothing of is one from before a reset
    store.claim(written(connection, store))
    hold(connection, store, form)  # for another export may have been faster, of another database or by another name


def inherit(connection: Connection, store: Store, form: str) -> None:
    """Take the destination from the database that this one came from; raise where that has exported what this one lacks."""
    found = read(store)
    if found is None or found[:2] == own(connection, store)[:2]:
        return
    if ledger.find(connection, found.destination, form) is None:
        raise LakeOfOther("The destination is the lake of a database that this one does not come from: export to a new one.")
    if found.destination != store.name:
        raise known_as(found)
    renew(connection, store)


def hold(connection: Connection, store: Store, form: str) -> bool:
    """As `check`, for who is about to write: on another timeline than the mark's the destination must be as it is recorded."""
    if not check(connection, store, form):
        return False
    found, (timeline,) = read(store), one(connection, TIMELINE) or ("",)
    if found and found.timeline > timeline:
        raise TakenOver
    if found and found.timeline < timeline:
        renew(connection, store)
    return True


def renew(connection: Connection, store: Store) -> None:
    """Replace the mark by this server's; raise where files are there that are not recorded."""
    if unknown := set(filter(is_events, store.sizes())) - ledger.paths(connection, store.name):
        raise BehindTheLake(len(unknown))
    store.reclaim(written(connection, store))


def check(connection: Connection, store: Store, form: str | None = None) -> bool:
    """Whether the destination is marked, as this database's lake of this name; raise where it is not what the database knows."""
    found, expected = read(store), own(connection, store)
    if found is None:
        if ledger.exported(ledger.find(connection, store.name, form)):
            raise NotTheLake
        return False
    if found[:2] != expected[:2]:
        raise LakeOfOther
    if ledger.find(connection, found.destination, form) is None:
        raise Forgotten
    if found.destination != expected.destination:
        raise known_as(found)
    return True


def known_as(found: Mark) -> KnownAs:
    """The error that tells a lake's name."""
    return KnownAs(f"The destination is the lake that this database knows as {found.destination}: name it so.")


def read(store: Store) -> Mark | None:
    """The destination's mark; None: it has none."""
    data = store.mark()
    try:
        return None if data is None else Mark(**json.loads(data))
    except (ValueError, TypeError):
        raise UnreadableMark from None


def own(connection: Connection, store: Store) -> Mark:
    """The mark that this database makes, but for the timeline."""
    system_identifier, database = one(connection, OWN) or ("", "")
    return Mark(system_identifier, database, store.name)


def written(connection: Connection, store: Store) -> bytes:
    """The mark as the file has it."""
    (timeline,) = one(connection, TIMELINE) or ("",)
    return json.dumps(own(connection, store)._replace(timeline=timeline)._asdict()).encode() + b"\n"
