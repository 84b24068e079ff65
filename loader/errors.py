"""What can go wrong for a user of the loader: each one sentence that says what happened, what it means and what to do."""

# ruff: noqa: N818 - their base says what they are


class LoaderError(Exception):
    """The loader stopped; what was committed stays, and the same command goes on from there."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class NoDatabase(LoaderError):
    """The database cannot be reached: set PGHOST, PGDATABASE, … as for psql."""


class ServerGone(LoaderError):
    """The server went away and did not come back in time; what was committed stays: run the same command again to go on."""


class StoppedWaiting(LoaderError):
    """Told to stop while the server was away; what was committed stays: run the same command again to go on."""


class TooManyCollisions(LoaderError):
    """Deadlocks with other sessions kept a batch from committing time and again: run the command again, with fewer loaders."""


class NotMigrated(LoaderError):
    """The database has no segment tables: run alembic upgrade head first."""


class TooOld(LoaderError):
    """The database's tables are older than this loader: run alembic upgrade head first."""


class WrongServer(LoaderError):
    """This database came from another server, so nothing can be loaded yet: run select segment_adopt() as its owner."""


class NotAllowed(LoaderError):
    """The role may not load events: grant segment_loader to it."""


class BadSource(LoaderError):
    """The source cannot be read."""


class NotValid(LoaderError):
    """Some lines are no valid events."""

    def __init__(self, invalid: int, lines: int) -> None:
        what = "is no valid event" if invalid == 1 else "are no valid events"
        super().__init__(
            f"{invalid:,} of {lines:,} lines {what}: loader stream would load the others, and put these in quarantine."
        )


class BytesLost(LoaderError):
    """A file that was followed went away before it was read to its end: load it by name if you have it."""


class SourceBusy(LoaderError):
    """Another loader is reading this source: wait for it, or stop it."""


class SourceForgotten(LoaderError):
    """What was known of the source was removed while it was being loaded, as segment_reset() does: run the command again."""


class NoSuchReject(LoaderError):
    """There is no reject with this number: loader rejects list shows those there are."""
