"""What may not be left of a run: slots, connections, locks, temporary tables and files, unfinished files, processes."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import psycopg

from chaos.pipeline import Pipeline
from chaos.program import Program

MOST_FILES: Final = 20
"""Open files that a process of the project's may have, whatever happened to it; it has nine at most."""

MOST_SESSIONS: Final = 20
"""Sessions that a role may have while everything runs, whatever was killed before; the loaders have ten."""

LEFT: Final = {
    "slots that no cursor has, or that somebody holds": """
select slot_name, active, wal_status from pg_replication_slots left join webhook_cursors on slot = slot_name
where slot is null or active or wal_status = 'lost'""",
    "cursors within a transaction or the past, or without a slot": """
select slot, c.lsn, c.past, c.documents, s.confirmed_flush_lsn
from webhook_cursors c left join pg_replication_slots s on s.slot_name = c.slot
where c.past not in ('none', 'done') or c.documents > 0 or s.slot_name is null""",
    "connections": """
select pid, usename, application_name, state from pg_stat_activity
where backend_type in ('client backend', 'walsender') and pid <> pg_backend_pid()""",
    "advisory locks": "select pid, classid, objid from pg_locks where locktype = 'advisory'",
    "temporary tables": "select relname from pg_class where relpersistence = 't' and relkind = 'r'",
    "prepared transactions": "select gid from pg_prepared_xacts",
    "indexes that are not valid": "select indexrelid::regclass from pg_index where not indisvalid",
    "files of the lake that were never put in place": "select path from lake_fragments where written_at is null",
    "notes of what was delivered": "select slot, batch_id from webhook_delivered",
    "temporary files of the server's": "select name from pg_ls_tmpdir()",
}
CROWDS: Final = """
select usename, count(*) from pg_stat_activity where usename like 'segment_%%' group by 1 having count(*) > %s"""

CLEANING_SECONDS: Final = 60.0
"""In which the server is done with what it does behind one's back: autovacuum drops the temporary tables of a crash."""

UNMADE: Final = "select slot_name from pg_replication_slots"


def in_database(connection: psycopg.Connection[Any]) -> Iterator[str]:
    """A sentence for whatever is left in the database, once every process has ended."""
    ends_at = time.monotonic() + CLEANING_SECONDS
    for what, query in LEFT.items():
        while (rows := connection.execute(query.encode()).fetchall()) and time.monotonic() < ends_at:
            time.sleep(0.2)
        if rows:
            yield f"{len(rows):,} {what} are left; one is {rows[0]}."


def of_slots(connection: psycopg.Connection[Any]) -> Iterator[str]:
    """A sentence if a slot is left after the webhook was given up."""
    if rows := connection.execute(UNMADE).fetchall():
        yield f"The slot {rows[0][0]} is left, though the webhook was given up."


def in_files(pipeline: Pipeline) -> Iterator[str]:
    """A sentence for files that are left of what was not finished, in the lake and in the server's folder."""
    lake = pipeline.lake
    slots = pipeline.server.data / "pg_replslot"
    left = [*lake.glob(".unfinished/*"), *lake.rglob("*.tmp"), *slots.glob("*")]
    if left:
        yield f"{len(left):,} files are left of what was not finished; one is {left[0]}."


def sessions(connection: psycopg.Connection[Any]) -> Iterator[str]:
    """A sentence for each role that has opened more and more sessions; everything runs."""
    for role, count in connection.execute(CROWDS.encode(), [MOST_SESSIONS]):
        yield f"The role {role} has {count} sessions."


def open_files(services: Mapping[str, Program]) -> Iterator[str]:
    """A sentence for each process that has opened more and more files; all of them run."""
    for name, program in services.items():
        with suppress(OSError):
            if program.process and (count := len(os.listdir(f"/proc/{program.process.pid}/fd"))) > MOST_FILES:
                yield f"The process {name} has {count} open files."


def processes(pipeline: Pipeline) -> Iterator[str]:
    """A sentence if a process is left that has the run's folder in its command line or its environment."""
    mark = os.fsencode(pipeline.folder)
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_bytes()
            if process.name != str(os.getpid()) and mark in command + (process / "environ").read_bytes():
                yield f"The process {process.name} is left: {command.replace(bytes(1), b' ').decode()}."
