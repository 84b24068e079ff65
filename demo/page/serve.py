"""Serves the page on loopback, in this thread, until SIGINT or SIGTERM; everything in it comes with the library."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import uvicorn
from fastapi import FastAPI
from nicegui import ui

from demo.errors import DemoError, UntrueError
from demo.page import charts
from demo.page.guard import Guard
from demo.page.knobs import LONGEST_DELAY, Faults, Knobs
from demo.page.live import Live, Reader
from demo.page.panels import Calls, Chart, Flow, Heading, Outcomes, Proof, Slot, Table, panel
from demo.page.poll import TICK_SECONDS, Poll
from demo.pipeline import Pipeline

STYLE: Final = Path(__file__).with_name("page.css")
CLOSING_SECONDS: Final = 1
"""How long an open window may keep the demo from ending."""


def serve(pipeline: Pipeline, prove: Callable[[], None], listener: socket.socket, seconds: float | None) -> None:
    """Serve until interrupted, or for so many seconds; `prove` raises DemoError unless all that the tables say is true."""
    poll, reader = Poll(pipeline), Reader(pipeline.server)
    app = FastAPI(openapi_url=None)

    @ui.page("/")
    def page() -> None:
        Window(pipeline, poll, reader, prove)

    ui.run_with(app, title="pgsegments", dark=None, show_welcome_message=False, tailwind=False, favicon="🔀")
    guarded = Guard(app, listener.getsockname()[1])
    config = uvicorn.Config(guarded, log_level="warning", timeout_graceful_shutdown=CLOSING_SECONDS)
    server = uvicorn.Server(config)
    with contextlib.closing(reader), poll.running(), ending(server, seconds):
        server.run(sockets=[listener])


@contextlib.contextmanager
def ending(server: uvicorn.Server, seconds: float | None) -> Iterator[None]:
    """Have the server end after so many seconds."""
    timer = threading.Timer(seconds or 0, lambda: setattr(server, "should_exit", True))
    if seconds is not None:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Window:
    """The page in one browser window."""

    def __init__(self, pipeline: Pipeline, poll: Poll, reader: Reader, prove: Callable[[], None]) -> None:
        self._pipeline, self._poll, self._prove = pipeline, poll, prove
        ui.add_css(STYLE)
        self._head()
        with ui.element().classes("board"):
            self._flow = Flow()
            self._knobs = Knobs(pipeline)
            self._charts = [
                Chart("Throughput", charts.lines("events/s, left", "toggles/s, right", axes=2), charts.throughput),
                Chart("From commit to answer", charts.lines("median, ms", "99th percentile, ms", axes=1), charts.latency),
                Chart("Documents a call", charts.scatter("receiver delay, ms", LONGEST_DELAY), charts.rollup),
            ]
            self._faults = Faults(pipeline)
            self._proof = Proof(self._check_all)
            self._slot, self._outcomes = Slot(), Outcomes()
            self._live = Live(reader)
            self._calls = Calls()
            with panel("Largest segments", "quarter"), ui.element().classes("rows"):
                self._largest = Table(("segment", "vendor ·", "members ·"), "no members yet")
            with panel("Newest files of the lake", "rest"), ui.element().classes("rows"):
                self._files = Table(("file", "events ·", "bytes ·", "written"), "no files yet")
        ui.timer(TICK_SECONDS, self.show)

    def _head(self) -> None:
        dark = ui.dark_mode(None)
        with ui.element("header").classes("bar"):
            Heading("pgsegments: every event, as it becomes a membership and a call", 1)
            ui.space()
            choices = {None: "auto", False: "light", True: "dark"}
            ui.toggle(choices, value=None).bind_value(dark).props('dense no-caps aria-label="Colours"')
        self._alert = ui.label().classes("alert bad").props("role=alert")
        self._alert.visible = False

    async def show(self) -> None:
        """Put the latest figures everywhere."""
        poll = self._poll
        self._alert.visible = bool(poll.away)
        self._alert.text = (
            f"⚠ PostgreSQL cannot be asked ({poll.away}), so these figures are of before. They go on when it is back: "
            "“Restart PostgreSQL” starts it, too."
        )
        self._flow.show(self._pipeline, poll)
        for chart in self._charts:
            chart.show(poll)
        self._proof.show(poll)
        self._outcomes.show(poll)
        self._slot.show(self._pipeline, poll)
        self._knobs.show()
        self._faults.show()
        self._largest.show([(found.name, str(found.vendor), f"{found.members:,}") for found in poll.found.reading.sizes.largest])
        self._files.show(
            [(file.path, f"{file.events:,}", f"{file.bytes:,}", f"{file.written_at:%H:%M:%S}") for file in poll.found.files]
        )
        self._calls.show(poll.calls)
        await self._live.show()

    async def _check_all(self) -> None:
        """Have everything proved."""
        self._proof.busy(True)
        self._proof.result.text = "folding every event …"
        try:
            await asyncio.to_thread(self._prove)
            self._proof.result.text = "✓ dbt test: every membership and every outcome equal the fold of all events"
        except UntrueError as error:
            self._proof.result.text = f"✗ {error}"
        except DemoError:
            self._proof.result.text = "dbt test could not finish, so nothing is proved; try again when PostgreSQL runs"
        finally:
            self._proof.busy(False)
