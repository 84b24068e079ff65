"""The past, where it depends on what transactions around the slot's making did, in an order that these tests decide."""

from threading import Thread

from demo.webhook import Receiver
from tests.conftest import Database
from tests.events import arrived
from tests.listening import expected, listening, stop
from tests.loading import ROLE, execute, wait_until
from tests.toggling import await_received, commit, flips, write, xid

WAITED_FOR = "select from pg_locks where locktype = 'transactionid' and not granted and transactionid = %s::text::xid"
WAITS_FOR_STANDBY = "select from pg_stat_activity where wait_event = 'SyncRep' and datname = current_database()"
SLOT_IS_MADE = """
select from webhook_cursors where past = 'done'
union all
select from pg_stat_activity
where application_name = 'pgsegments listener' and query like '%pg_snapshot_xip%' and datname = current_database()
"""
"""Whether it waits until it sees everything, or has already read the past."""


def standby(database: Database, names: str) -> None:
    """Wait for this standby at every commit, from now on."""
    execute(database, f"alter system set synchronous_standby_names = '{names}'")
    execute(database, "select pg_reload_conf()")


def test_a_commit_that_waits_for_a_standby_belongs_to_the_past(own_database: Database) -> None:
    """The slot's snapshot sees it; it began after the server had begun to take note of commits for the slot."""
    database = own_database
    commit(database, flips(40))
    with database.connect(ROLE) as first, database.connect(ROLE) as second, database.connect(ROLE) as third:
        write(first, flips(8, user="a", first=400))
        local = {"PGOPTIONS": "-c synchronous_commit=local"}
        with Receiver(keep=True) as receiver, listening(database, receiver, "--from", "start", **local) as listener:
            wait_until(lambda: database.fetch(WAITED_FOR, xid(first)))
            second.execute("set local synchronous_commit = local")
            write(second, flips(8, user="b", first=800))
            first.commit()
            wait_until(lambda: database.fetch(WAITED_FOR, xid(second)))
            write(third, flips(8, user="c", first=1200))
            standby(database, "nobody")
            wait_until(lambda: third.execute("show synchronous_standby_names").fetchone() == ("nobody",))
            execute(database, "checkpoint")  # by who has to read the setting, too, before any commit waits
            committing = Thread(target=third.commit)
            committing.start()
            wait_until(lambda: database.fetch(WAITS_FOR_STANDBY))
            second.commit()
            wait_until(lambda: database.fetch(SLOT_IS_MADE))
            standby(database, "")
            committing.join()
            wanted = expected(arrived(database))
            await_received(receiver, len(wanted))
            stop(listener)
            assert receiver.received() == wanted


def test_what_is_rolled_back_while_the_slot_is_made(own_database: Database) -> None:
    """Where the last transactions before it come to nothing, the slot's snapshot ends before it begins."""
    database = own_database
    commit(database, flips(40))
    with database.connect(ROLE) as first, database.connect(ROLE) as second, database.connect(ROLE) as third:
        write(first, flips(8, user="a", first=400))
        with Receiver(keep=True) as receiver, listening(database, receiver, "--from", "start") as listener:
            wait_until(lambda: database.fetch(WAITED_FOR, xid(first)))
            write(third, flips(8, user="c", first=1200))
            third.rollback()
            write(second, flips(8, user="b", first=800))
            first.rollback()
            wait_until(lambda: database.fetch(WAITED_FOR, xid(second)))
            write(third, flips(8, user="c", first=1200))
            second.rollback()
            await_received(receiver, len(expected(arrived(database))))
            third.commit()
            wanted = expected(arrived(database))
            await_received(receiver, len(wanted))
            stop(listener)
            assert receiver.received() == wanted
