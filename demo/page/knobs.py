"""The knobs, the faults and the reset. What they do is the pipeline's affair; here they are set, and follow others."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

import psycopg
from nicegui import ui

from demo.errors import DemoError
from demo.page.panels import panel
from demo.page.poll import words
from demo.pipeline import Pipeline

MOST_EVENTS = 20_000
LONGEST_DELAY = 2000
SHOWN_NOTES = 4

Work = Callable[[], Future[None]]


async def carry_out(work: Work) -> None:
    """Do something to the pipeline, and say in a sentence when that fails."""
    try:
        await asyncio.wrap_future(work())
    except DemoError as error:
        ui.notify(str(error), type="negative", multi_line=True)
    except OSError as error:
        ui.notify(f"The machine refused ({error}), so it is not done; mend that and try again.", type="negative")
    except psycopg.Error as error:
        ui.notify(f"PostgreSQL refused ({words(error)}), so it is not done; try again when it runs.", type="negative")


class Dial:
    """A number from 0 to `most`, as a slider and as a box; effective at once."""

    def __init__(self, name: str, most: int, step: int, get: Callable[[], float], put: Callable[[float], object]) -> None:
        self._most, self._get, self._put = most, get, put
        with ui.element().classes("dial"):
            ui.label(name).props("aria-hidden=true")
            label = f'aria-label="{name}"'
            self._slider = ui.slider(min=0, max=most, step=step, value=get(), on_change=lambda event: self._set(event.value))
            self._slider.props(f"{label} dense")
            self._box = ui.number(min=0, max=most, step=step, value=get(), on_change=lambda event: self._set(event.value))
            self._box.props(f"{label} dense outlined")

    def show(self) -> None:
        """Show what it is set to, by whomever; a box that is empty is being filled."""
        value = self._get()
        for element in (self._slider, self._box):
            if element.value not in (value, None):
                element.value = value

    def _set(self, value: float | None) -> None:
        if value is not None and value != self._get() and 0 <= value <= self._most:
            self._put(value)
            self.show()


class Toggle:
    """A switch that is on while something runs."""

    def __init__(self, name: str, get: Callable[[], bool], put: Callable[[bool], Future[None]]) -> None:
        self._get, self._put = get, put
        self._switch = ui.switch(name, value=get(), on_change=lambda event: self._set(event.value)).props("dense")

    def show(self) -> None:
        """Show how it is, by whomever."""
        if self._switch.value != self._get():
            self._switch.value = self._get()

    async def _set(self, on: bool) -> None:
        if on != self._get():
            await carry_out(partial(self._put, on))


class Knobs:
    """Rate, delay, failures; stream, listener and receiver on and off."""

    def __init__(self, pipeline: Pipeline) -> None:
        settings = pipeline.delivery.receiver.settings
        with panel("Knobs", "quarter"):
            self._shown: list[Dial | Toggle] = [
                Dial("events/s", MOST_EVENTS, 100, lambda: pipeline.rate, pipeline.set_rate),
                Dial("receiver delay, ms", LONGEST_DELAY, 10, lambda: settings.delay, partial(setattr, settings, "delay")),
                Dial(
                    "calls that fail, %",
                    100,
                    1,
                    lambda: round(100 * settings.fail_rate),
                    lambda share: setattr(settings, "fail_rate", share / 100),
                ),
            ]
            with ui.element().classes("bar"):
                self._shown += [
                    Toggle("stream", lambda: not pipeline.paused, lambda on: pipeline.pause_stream(not on)),
                    Toggle("listener", lambda: not pipeline.listener_paused, lambda on: pipeline.pause_listener(not on)),
                    Toggle("receiver", lambda: not pipeline.cut, lambda on: pipeline.cut_receiver(not on)),
                ]

    def show(self) -> None:
        """Show how everything is set."""
        for knob in self._shown:
            knob.show()


class Faults:
    """Buttons for faults, and the reset."""

    def __init__(self, pipeline: Pipeline) -> None:
        with panel("Faults", "quarter"):
            with ui.element().classes("bar"):
                self._buttons(pipeline)
            self._notes = [ui.label().classes("quiet") for _ in range(SHOWN_NOTES)]
        self._pipeline = pipeline
        with ui.dialog().props('aria-label="Reset"') as self._dialog, ui.card():
            ui.label("Empty every table and the demo's lake, and start anew, with everything running? What they hold is lost.")
            with ui.row():
                ui.button("Empty everything", on_click=lambda: self._dialog.submit(True)).props("color=negative no-caps")
                ui.button("Cancel", on_click=lambda: self._dialog.submit(False)).props("flat no-caps autofocus")

    def _buttons(self, pipeline: Pipeline) -> None:
        button("Kill -9 the listener", "dangerous", pipeline.kill_listener)
        button("Restart PostgreSQL", "restart_alt", pipeline.restart_postgres)
        self._cut = ui.button(icon="link_off", on_click=lambda: carry_out(lambda: pipeline.cut_receiver(not pipeline.cut)))
        self._cut.props("dense outline no-caps")
        ui.button("Reset …", icon="delete_sweep", on_click=lambda: self._reset(pipeline)).props(
            "dense outline no-caps color=negative"
        )

    def show(self) -> None:
        """Show whether the receiver can be cut or connected, and what was done last."""
        self._cut.text = "Connect the receiver" if self._pipeline.cut else "Cut the receiver"
        for label, note in zip(self._notes, reversed(list(self._pipeline.notes)), strict=False):
            label.text = f"{note.at:%H:%M:%S} {note.text}"

    async def _reset(self, pipeline: Pipeline) -> None:
        if await self._dialog:
            await carry_out(pipeline.reset)


def button(text: str, icon: str, work: Work) -> None:
    """A button that is busy until its work is done."""

    async def clicked() -> None:
        made.props("loading")
        await carry_out(work)
        made.props(remove="loading")

    made = ui.button(text, icon=icon, on_click=clicked).props("dense outline no-caps")
