"""What can go wrong for a user of the listener: each one sentence that says what happened, what it means and what to do."""

# ruff: noqa: N818 - their base says what they are


class ListenerError(Exception):
    """The listener stopped; what was not delivered stays, and the same command goes on from there."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or " ".join((type(self).__doc__ or "").split()))


class BadURL(ListenerError):
    """The webhook's URL names no host by http:// or https://, so nothing can be posted to it: mend it."""


class BadEnvironment(ListenerError):
    """A proxy or certificates in the environment are unusable: mend HTTP_PROXY, HTTPS_PROXY, ALL_PROXY or SSL_CERT_FILE."""


class BadSecret(ListenerError):
    """A webhook secret is not whsec_ and 24 to 64 bytes in base64, so no receiver could verify with it: copy it once more."""


class BadOnly(ListenerError):
    """What is to be delivered is named neither like vendor=3 nor like segment=3/seg-1F: write it so."""


class NoDatabase(ListenerError):
    """The database cannot be reached: set PGHOST, PGDATABASE, … as for psql."""


class NoStream(NoDatabase):
    """The server refuses to stream its log: see that pg_hba.conf lets the role in, and that it has the attribute REPLICATION."""


class NotMigrated(ListenerError):
    """The database has no tables for the listener, or older ones: run alembic upgrade head first."""


class NotAllowed(ListenerError):
    """The role may not listen: grant segment_listener to it."""


class NoReplication(ListenerError):
    """The role may not read the server's log: give it the attribute REPLICATION, as a superuser by alter role … replication."""


class NotLogical(ListenerError):
    """The server's wal_level is below logical, so its log cannot be streamed: set wal_level = logical and restart the server."""


class WrongServer(ListenerError):
    """This database came from another server, as by a dump, whose positions mean nothing here: run select segment_adopt() as its
    owner, then start the listener again, which goes on where it was."""


class NoPublication(ListenerError):
    """The publication does not exist in this database, so nothing would come: run alembic upgrade head, or choose another."""


class PublicationMade(ListenerError):
    """The publication did not exist when part of the log was written, so that part cannot be streamed: run listener drop, then
    start the listener with --from start to deliver everything again, or with --from now."""


class OtherPublication(ListenerError):
    """The slot's cursor is for another publication: choose that one, or another --slot, or run listener drop first."""


class SlotGone(ListenerError):
    """The slot was lost before its cursor knew what was delivered, so nobody can say what was not: run
    listener drop, then start the listener with --from start to deliver everything again, or with --from now."""


class SlotLost(ListenerError):
    """The slot was dropped, or the server gave it up: the same command makes another, and goes on from the tables."""


class CursorMoved(ListenerError):
    """Somebody else has written the slot's cursor meanwhile, so what this listener knows is not the latest: start it again."""


class SeveralSlots(ListenerError):
    """The dead letters are of several slots, whose receivers may not get each other's: choose one by --slot, or by numbers."""


class SlotForeign(ListenerError):
    """There is a slot of this name for something else, another database or plugin: choose another --slot."""


class SlotBusy(ListenerError):
    """Another listener holds the slot: stop it, choose another --slot, or stand by with --wait."""


class SlotMoved(ListenerError):
    """The slot was moved by somebody else, past what was delivered: run listener drop, then start with --from start or now."""


class NoSuchLetter(ListenerError):
    """Not every number is one of a dead letter, or of that slot, so nothing was done: listener dead-letters list shows them."""


class Replaying(ListenerError):
    """Another command posts dead letters just now, and both would post the same: wait until it is done."""


class NoMetrics(ListenerError):
    """The metrics cannot be served there, so nobody would see how it goes: choose another --metrics-port or --metrics-address."""


class NoSuchSlot(ListenerError):
    """There is neither a slot nor a cursor of this name: listener status shows those there are."""


class BadMessage(ListenerError):
    """The server sent what is no message of pgoutput, version 1, so nothing can be read from it: is it PostgreSQL 15 to 18?"""


class ForeignTable(ListenerError):
    """The publication has a table without the columns of a toggle: choose segment_toggles or segment_changes."""


class StoppedWaiting(ListenerError):
    """Told to stop, but the database took no note of the last call in time, so its documents may come again; nothing is lost."""


class NotAccepted(ListenerError):
    """The receiver did not accept a call, tried several times, so the rest was not posted: mend it, and run the command again."""


class Refused(ListenerError):
    """The receiver refused some documents for good, so it does not have them: the log says which, and why."""


class PoisonDocument(ListenerError):
    """The receiver refused a document for good, and --on-poison stop was given: mend the receiver, and start again."""
