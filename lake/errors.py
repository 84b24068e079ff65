"""What can go wrong for a user of the lake: each one sentence that says what happened, what it means and what to do."""

# ruff: noqa: N818 - their base says what they are


class LakeError(Exception):
    """The lake's command stopped; what is done stays, and the same command goes on from there."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or " ".join((type(self).__doc__ or "").split()))


class NotMigrated(LakeError):
    """The database has no tables for the lake, or older ones: run alembic upgrade head first."""


class NotAllowed(LakeError):
    """The role may not export events: grant segment_lake to it."""


class NotKeeper(LakeError):
    """The role may not remove anything: grant segment_keeper to it."""


class KeeperBusy(LakeError):
    """Another lake prune or lake erase is at work in this database: wait for it, or stop it."""


class Unfinished(LakeError):
    """The user is not gone everywhere: run the same command again."""


class InTheWay(LakeError):
    """Something of somebody else's stands on a partition that is to go, so it stays: drop that, and run the command again."""


class StillInUse(LakeError):
    """What is to go is in use, so it stays for now: run the command again, or end who holds it."""


class WrongServer(LakeError):
    """This database came from another server, as by a dump, whose transaction ids mean nothing here, so nothing can be exported
    in order: run select segment_adopt() as its owner, then export with --take-over."""


class LakeOfOther(LakeError):
    """The destination is the lake of another database, if only of the one that this one is a copy of: export to a new
    destination, or, where this database is to take the other's place, end the other's export and name --take-over."""


class TakenOver(LakeError):
    """The destination is the lake of a server that has taken this one's place, so two would write to it: end this export."""


class BehindTheLake(LakeError):
    """The destination has files that this database does not know, so their events would be there twice."""

    def __init__(self, files: int) -> None:
        what = "1 file" if files == 1 else f"{files:,} files"
        super().__init__(
            f"The destination has {what} that this database does not know, written after its backup was taken or before its "
            "standby had all, so their events would be there twice: export to a new destination."
        )


class NotTheLake(LakeError):
    """The destination is not the lake that was exported to, for its lake.json is missing: mount it or restore it, or export to a
    new destination."""


class KnownAs(LakeError):
    """The destination is a lake that this database knows by another name: name it so."""


class Forgotten(LakeError):
    """This database has forgotten that it had exported to this destination, as by lake forget or segment_reset(), so its events
    would be mixed with those of before: export to a new destination."""


class UnreadableMark(LakeError):
    """The destination's lake.json is not one of a lake's, or not whole, so it is not known whose lake this is: restore it from a
    copy, or export to a new destination."""


class LakeBusy(LakeError):
    """Another lake export writes to this destination: wait for it, or stop it."""


class LakeMoved(LakeError):
    """Another lake export has written to this destination meanwhile: see that only one runs, and run the command again."""


class OtherFormat(LakeError):
    """The destination holds the other format: choose that one, or another destination."""


class NotOurs(LakeError):
    """The destination has files that this database did not export, so they would be taken for its events: choose an empty one."""


class StillRunning(LakeError):
    """An older transaction is still open, so what was committed since it began cannot be exported in order: end it, and run the
    command again."""


class BadDestination(LakeError):
    """The destination is no folder and no object store's URL: name a folder, or a URL such as s3://bucket/lake."""


class NoDestination(LakeError):
    """The destination cannot be used."""


class StoreAway(LakeError):
    """The destination does not answer; what is not there yet stays in the database: run the command again."""


class NotExported(LakeError):
    """This database has exported nothing to this destination: see that both are the right ones."""


class Damaged(LakeError):
    """The lake is not as it was written: restore what is named from a copy, or export to a new destination."""


class BadFragment(LakeError):
    """A file of the lake cannot be read to its end, so its events are missing: restore it from a copy, then empty the database
    with select segment_reset() and begin again."""


class NothingToRebuild(LakeError):
    """The lake has no events: name a destination of lake export, or a folder with files that end in .gz or .parquet."""


class NotEmpty(LakeError):
    """The database has events that are not from this lake, or a horizon, so it could not become what the lake tells: rebuild in a
    new database, or empty this one with select segment_reset()."""


class LakeChanged(LakeError):
    """The lake has changed since the rebuild began, so its events would no longer come in order: empty the database with
    select segment_reset() and begin again."""


class Rejected(LakeError):
    """Some lines of the lake are no events, or contradict others: loader rejects list shows them. All others were loaded."""
