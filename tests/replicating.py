"""A server that replicates another one, and takes its place."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo.account import account, give
from demo.postgres import Server
from tests.conftest import Database
from tests.loading import execute, wait_until


@contextmanager
def standby_of(primary: Server, home: Path) -> Iterator[Server]:
    """A server that replicates the primary and may take over; it is gone when the block ends."""
    standby = Server(home, primary.installation, shared_buffers=128, die_with_parent=True)
    standby.start()
    standby.stop()
    shutil.rmtree(standby.data)
    give(standby.data)
    copy: list[str | Path] = [
        primary.bin / "pg_basebackup",
        "--pgdata",
        standby.data,
        "--checkpoint",
        "fast",
        "--write-recovery-conf",
    ]
    subprocess.run(copy, env=primary.environment(), check=True, cwd="/", **account())
    try:
        standby.start()
        yield standby
    finally:
        standby.remove()


def take_over(database: Database, standby: Server) -> None:
    """The primary dies, once the standby has all of it, and the standby takes its place."""
    (written,) = database.fetch("select pg_current_wal_insert_lsn()::text")[0]
    wait_until(lambda: Database(standby, database.name).fetch("select where pg_last_wal_replay_lsn() >= %s", written))
    database.server.stop("immediate")
    execute(Database(standby, database.name), "select pg_promote()")
