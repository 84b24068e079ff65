"""Runs the migrations on the database that libpq's environment names (PGHOST, PGDATABASE, PGSERVICE, …), as psql would.

One transaction holds the whole run: it succeeds or changes nothing. Two runs at once wait for each other.
"""

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

VERSION_TABLE = "segment_alembic_version"


def migrate(connection: Connection) -> None:
    """Run the migrations asked for; after a downgrade to base the version table goes too."""
    context.configure(connection=connection, version_table=VERSION_TABLE, version_table_schema="public")
    with context.begin_transaction():
        connection.execute(text("set local search_path = public"))
        connection.execute(text("select pg_advisory_xact_lock(hashtextextended('segment_alembic_version', 0))"))
        context.run_migrations()
        if not context.get_context().get_current_heads():
            connection.execute(text(f"drop table if exists public.{VERSION_TABLE}"))


def sentence(error: BaseException | None) -> str:
    """What the server, or the attempt to reach it, said; with what to do about it."""
    diagnostic = getattr(error, "diag", None)
    said = [getattr(diagnostic, f"message_{part}", None) for part in ("primary", "detail", "hint")]
    if said[0] is None:
        return f"The database cannot be reached: set PGHOST, PGDATABASE, … as for psql. ({' '.join(str(error).split())})"
    return " ".join(["The database refused:", *(" ".join(text.split()).rstrip(".") + "." for text in said if text)])


def run() -> None:
    """Connect and migrate; whatever the server says against it is one sentence for alembic to print."""
    if context.is_offline_mode():
        raise CommandError("The migrations look at the database while they run: leave out --sql.")
    try:
        with create_engine("postgresql+psycopg://", poolclass=NullPool).connect() as connection:
            migrate(connection)
    except DBAPIError as error:
        raise CommandError(sentence(error.orig)) from None


run()
