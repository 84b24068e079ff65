"""Whose lake a destination is: a file at its root names the database, and the destination by the name that it goes by there.

Nothing else tells a disk that is not mounted from a new folder, or one folder under two names from two.
"""

import json
from typing import NamedTuple

from lake import ledger
from lake.database import one
from lake.errors import Forgotten, KnownAs, LakeOfOther, NotOurs, NotTheLake, UnreadableMark
from lake.store import Store
from loader.database import Connection

OWN = """
select (select system_identifier from pg_control_system())::text, oid::text from pg_database where datname = current_database()
"""


class Mark(NamedTuple):
    """What the file says. On the same server a copy of a database has another oid, on another server the server tells."""

    system_identifier: str
    database: str
    destination: str


def take(connection: Connection, store: Store, form: str) -> None:
    """Take the destination over where it is new; raise unless this database may export to it."""
    if check(connection, store, form):
        return
    store.prepare()
    if store.sizes():
        raise NotOurs
    ledger.begin(connection, store.name, form)  # first: a mark that the database knows nothing of is one from before a reset
    store.claim(json.dumps(own(connection, store)._asdict()).encode() + b"\n")
    check(connection, store, form)  # for another export may have been faster, of another database or by another name


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
    if found != expected:
        raise KnownAs(f"The destination is the lake that this database knows as {found.destination}: name it so.")
    return True


def read(store: Store) -> Mark | None:
    """The destination's mark; None: it has none."""
    data = store.mark()
    try:
        return None if data is None else Mark(**json.loads(data))
    except (ValueError, TypeError):
        raise UnreadableMark from None


def own(connection: Connection, store: Store) -> Mark:
    """The mark that this database makes."""
    system_identifier, database = one(connection, OWN) or ("", "")
    return Mark(system_identifier, database, store.name)
