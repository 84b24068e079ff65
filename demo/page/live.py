"""The live queries: which one, for whom, the SQL as psql runs it, and its rows, asked again and again.

Only the queries of queries/ are asked, with what stands in the boxes as bound parameters.
"""

import asyncio
import threading
import time

import psycopg
from nicegui import ui

from demo.figures import IDLE, Connection
from demo.page import queries
from demo.page.panels import Table, panel
from demo.page.poll import OPTIONS, READER, words
from demo.pipeline import DATABASE
from demo.postgres import Server

NAMES = ("pg_user_point_lookup", "pg_user_active_segments", "pg_segment_membership", "pg_event_outcomes")
MOST_ROWS = 10
SHORTEST_SECONDS = 1.0


class Reader:
    """One connection for every window's queries, one after the other."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def ask(self, query: queries.Query, wanted: dict[str, str]) -> tuple[list[str], list[list[str]]]:
        """The columns and the first rows as text; raises psycopg.Error, and ValueError where a number is none."""
        with self._lock:
            try:
                return self._ask(query, query.bound(wanted))
            except psycopg.OperationalError:
                self.close()
                raise

    def _ask(self, query: queries.Query, values: dict[str, str | int]) -> tuple[list[str], list[list[str]]]:
        if self._connection is None:
            self._connection = self._server.connect(DATABASE, READER, autocommit=True, options=OPTIONS)
        found = self._connection.execute(query.statement.encode(), values)
        columns = [column.name for column in found.description or ()]
        return columns, [[queries.cell(value) for value in row] for row in found.fetchmany(MOST_ROWS)]

    def close(self) -> None:
        """Close the connection; the next question opens another."""
        if self._connection:
            self._connection.close()
            self._connection = None


class Live:
    """The panel of one window."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._due = 0.0
        found = [queries.read(name) for name in NAMES]
        self._queries = {query.name: query for query in found}
        with panel("Live queries", "half"):
            questions = {query.name: query.question for query in found}
            self._choice = ui.select(questions, label="query", value=NAMES[0], on_change=self._changed)
            self._choice.props("dense outlined").classes("full-width")
            with ui.element().classes("bar"):
                self._user = self._box("user", "usr-000000")
                self._vendor = self._box("vendor", "1")
                self._segment = self._box("segment", "seg-0")
            self._sql = ui.label().classes("sql")
            self._problem = ui.label().classes("bad")
            with ui.element().classes("rows"):
                self._place = ui.element()
        self._changed()

    def _box(self, name: str, value: str) -> ui.input:
        return ui.input(name, value=value, on_change=self._changed).props("dense outlined")

    def _changed(self) -> None:
        """Show the SQL, and ask soon."""
        self._query = self._queries[self._choice.value]
        self._columns: list[str] = []
        self._sql.text = f"psql -f queries/{self._query.name}.sql\n\n{self._query.shown}"
        self._due = 0.0

    async def show(self) -> None:
        """Ask, unless it has just been asked for what it costs."""
        began = time.monotonic()
        if began < self._due:
            return
        self._due = float("inf")
        query, user = self._query, self._user.value or ""
        wanted = {
            "user": user, "from_user": user, "to_user": f"{user}~" if user else "", "rows": str(MOST_ROWS),
            "vendor": self._vendor.value or "", "segment": self._segment.value or "",
        }  # fmt: skip
        try:
            columns, rows = await asyncio.to_thread(self._reader.ask, query, wanted)
            self._problem.text = ""
            self._fill(columns, rows)
        except ValueError:
            self._problem.text = "The vendor must be a whole number, so nothing was asked; write one."
        except psycopg.Error as error:
            self._problem.text = f"There is no answer to that: {words(error)}"
        if query is self._query and self._due == float("inf"):
            now = time.monotonic()
            self._due = now + max(SHORTEST_SECONDS / 2, IDLE * (now - began))

    def _fill(self, columns: list[str], rows: list[list[str]]) -> None:
        """Show the rows, in a table of those columns."""
        if columns != self._columns:
            self._columns = columns
            self._place.clear()
            with self._place:
                self._table = Table(columns, "no rows")
        self._table.show(rows)
