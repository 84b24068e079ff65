"""What the page shows, panel by panel: each builds its elements once and then, every tick, puts the latest figures into them."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from demo.figures import OUTCOMES
from demo.page import charts
from demo.page.charts import Point
from demo.page.poll import Found, Poll
from demo.pipeline import Pipeline
from demo.program import Program
from demo.record import Answered

SHOWN_CALLS: Final = 10
SHOWN_LOG: Final = 160
NONE: Final = "-"


class Heading(TextElement):
    """A heading, which screen readers find."""

    def __init__(self, text: str, level: int = 2) -> None:
        super().__init__(tag=f"h{level}", text=text)


@contextlib.contextmanager
def panel(title: str, width: str) -> Iterator[None]:
    """A panel of the board, as wide as one of page.css's classes."""
    with ui.card().classes(f"panel {width}").props(f'role=region aria-label="{title}"'):
        Heading(title)
        yield


class Figures:
    """Names and what they stand at, one a line."""

    def __init__(self, names: Sequence[str]) -> None:
        self._labels: dict[str, ui.label] = {}
        with ui.element().classes("figures"):
            for name in names:
                ui.label(name)
                self._labels[name] = ui.label(NONE)

    def show(self, **found: str) -> None:
        """Show what is found, by names with _ for a blank."""
        for name, text in found.items():
            self._labels[name.replace("_", " ")].text = text


class State(NamedTuple):
    """How a part does: a word for it, an icon, and `good`, `busy` or `bad`."""

    word: str
    icon: str
    mood: str


RUNNING: Final = State("running", "check_circle", "good")
PAUSED: Final = State("paused", "pause_circle", "busy")
DOWN: Final = State("down", "error", "bad")
CUT: Final = State("cut off", "link_off", "bad")


def states(pipeline: Pipeline, poll: Poll) -> dict[str, State]:
    """How each part does."""
    loader, listener, export = pipeline.stream.loader, pipeline.delivery.listener, pipeline.lake.export
    return {
        "generator": PAUSED if pipeline.paused or not pipeline.rate else RUNNING,
        "loader": of(loader),
        "PostgreSQL": DOWN if poll.away else RUNNING,
        "listener": of(listener),
        "webhook": RUNNING if pipeline.delivery.receiver.listening else CUT,
        "lake": of(export),
    }


def of(program: Program) -> State:
    """How a program does."""
    return DOWN if program.down else RUNNING if program.wanted else PAUSED


class StateMark:
    """An icon and a word."""

    def __init__(self) -> None:
        with ui.element("span").classes("state") as self._mark:
            self._icon = ui.icon("hourglass_empty").props("aria-hidden=true")
            self._word = ui.label("starting")

    def show(self, state: State) -> None:
        """Show a state."""
        self._icon.name, self._word.text = state.icon, state.word
        self._mark.classes(state.mood, remove="good busy bad")


class Flow:
    """The flow as a picture, with live figures on its arrows."""

    def __init__(self) -> None:
        self._states: dict[str, StateMark] = {}
        self._notes: dict[str, ui.label] = {}
        with ui.card().classes("panel wide").props('role=region aria-label="The flow"'), ui.element().classes("flow"):
            self._node("generator")
            self._events = self._arrow("events/s")
            self._node("loader")
            self._batches = self._arrow("batches/s")
            self._node("PostgreSQL")
            self._files = self._arrow("files/s", classes="fork down")
            self._node("lake", "fork")
            self._toggles = self._arrow("toggles/s")
            self._node("listener")
            self._calls = self._arrow("calls/s", "documents a call")
            self._node("webhook")

    def _node(self, name: str, classes: str = "") -> None:
        with ui.element().classes(f"node {classes}"):
            with ui.element("b"):
                ui.label(name)
            self._states[name] = StateMark()
            self._notes[name] = ui.label().classes("quiet")

    def _arrow(self, *units: str, classes: str = "") -> list[ui.label]:
        labels = []
        with ui.element().classes(f"arrow {classes}"):
            for unit in units:
                with ui.element():
                    labels.append(ui.label(NONE).classes("number"))
                    ui.label(unit)
        return labels

    def show(self, pipeline: Pipeline, poll: Poll) -> None:
        """Show the latest."""
        reading, away = poll.found.reading, poll.away
        for name, state in states(pipeline, poll).items():
            self._states[name].show(state)
        rates = [
            (self._events[0], f"{reading.events_per_second:,.0f}"),
            (self._batches[0], f"{reading.batches_per_second:,.1f}"),
            (self._toggles[0], f"{reading.toggles_per_second:,.1f}"),
            (self._calls[0], f"{reading.calls_per_second:,.1f}"),
            (self._calls[1], f"{reading.documents_per_call:,.1f}"),
            (self._files[0], f"{poll.found.files_per_second:,.0f}"),
        ]
        for label, text in rates:
            label.text = NONE if away else text
        self._notes["generator"].text = f"{pipeline.stream.sent:,} sent"
        self._notes["loader"].text = f"{reading.on_their_way:,} on their way"
        self._notes["PostgreSQL"].text = f"{reading.sizes.memberships:,} memberships, {reading.sizes.members:,} members"
        self._notes["listener"].text = NONE if away or not poll.slot else "caught up" if poll.slot.caught_up else "behind"
        self._notes["webhook"].text = f"{reading.delivered:,} documents"
        self._notes["lake"].text = f"{poll.found.file_count:,} files"


class Chart:
    """A chart of the last minutes."""

    def __init__(self, title: str, options: charts.Options, data: Callable[[Sequence[Point]], Sequence[object]]) -> None:
        self._data = data
        with panel(title, "quarter"):
            self._chart = ui.echart(options, renderer="svg").classes("chart")

    def show(self, poll: Poll) -> None:
        """Show the latest."""
        for series, data in zip(self._chart.options["series"], self._data(list(poll.points)), strict=True):
            series["data"] = data
        self._chart.update()


def faults(found: Found) -> list[str]:
    """What should never be, each in a few words."""
    standing = found.standing
    told = {
        "toggles are lost: delivered, says the slot, and never received": found.lost,
        "toggles were received that are not in the table": standing.unexpected,
        "toggles have gone from the table": standing.gone,
        "keys of one sample were unlike their fold": found.unlike,
    }
    return [f"{count:,} {words}" for words, count in told.items() if count]


def verdict(found: Found, wrong: bool) -> State:
    """Whether all is well, on its way, or something is wrong."""
    if wrong:
        return State("something is wrong", "error", "bad")
    if found.on_their_way:
        return State(f"{found.on_their_way:,} are on their way", "pending", "busy")
    return State("every toggle has reached the webhook", "check_circle", "good")


class Proof:
    """Whether anything was lost."""

    def __init__(self, prove: Callable[[], Any]) -> None:
        with panel("Nothing is lost", "quarter"):
            self._figures = Figures(("toggles received", "keys like their fold"))
            self._verdict = StateMark()
            self._found = ui.label().classes("bad")
            self._again = ui.label().classes("quiet")
            with ui.element().classes("bar"):
                self._button = ui.button("Fold all events anew", icon="fact_check", on_click=prove).props("dense outline no-caps")
            self.result = ui.label().classes("quiet")
            self.result.text = "dbt test compares every membership and outcome with a fold of all events"

    def show(self, poll: Poll) -> None:
        """Show the latest."""
        found, standing, (keys, equal) = poll.found, poll.found.standing, poll.found.sample
        self._figures.show(
            toggles_received=f"{standing.matched:,} of {found.reading.toggles:,}",
            keys_like_their_fold=f"{equal:,} of {keys:,} just changed",
        )
        wrong = faults(found)
        self._verdict.show(verdict(found, bool(wrong)))
        self._found.text = "; ".join(wrong)
        self._again.text = f"{standing.again:,} came once more, after a fault; {found.dead_letters:,} are dead letters"

    def busy(self, busy: bool) -> None:
        """Let nobody ask again while it is asked."""
        self._button.set_enabled(not busy)


class Outcomes:
    """Outcomes by kind."""

    def __init__(self) -> None:
        with panel("Outcomes of events", "quarter"):
            self._figures = Figures(OUTCOMES)

    def show(self, poll: Poll) -> None:
        """Show the latest."""
        outcomes = poll.found.reading.outcomes
        self._figures.show(**{name: f"{outcomes.get(name, 0):,}" for name in OUTCOMES})


class Slot:
    """What `listener status` tells."""

    NAMES: Final = ("state", "lag", "oldest waits", "log", "delivered", "last answer", "dead letters")

    def __init__(self) -> None:
        with panel("Listener and its slot", "quarter"):
            self._figures = Figures(self.NAMES)
            self._said = ui.label().classes("quiet")

    def show(self, pipeline: Pipeline, poll: Poll) -> None:
        """Show the latest."""
        slot, (_, _, said) = poll.slot, pipeline.delivery.listener.said().partition(" ")
        self._said.text = said[:SHOWN_LOG]
        if slot is None or poll.away:
            self._figures.show(**dict.fromkeys(("state", "lag", "oldest_waits", "log"), NONE))
            return
        self._figures.show(
            state="✓ caught up" if slot.caught_up else "… behind",
            lag=NONE if slot.lag_bytes is None else f"{0 if slot.caught_up else max(0, slot.lag_bytes):,} bytes",
            oldest_waits=f"{slot.lag_seconds or 0:,.1f} s",
            log=slot.wal_status or "none",
            delivered=f"{slot.delivered:,}",
            last_answer=slot.last_answer or "none yet",
            dead_letters=f"{slot.dead_letters:,}",
        )


class Table:
    """Rows of text, or a word where there are none; columns whose names end with ` ·` are numbers."""

    def __init__(self, columns: Sequence[str], empty: str) -> None:
        described = [
            {"name": name, "label": name.removesuffix(" ·"), "field": name, "align": "right" if name.endswith(" ·") else "left"}
            for name in columns
        ]
        self._columns = columns
        self._empty = ui.label(empty).classes("quiet")
        self._table = ui.table(rows=[], columns=described, row_key="row").classes("full-width")
        self._table.props("dense flat hide-pagination hide-no-data wrap-cells")

    def show(self, rows: Sequence[Sequence[str]]) -> None:
        """Show other rows, if they are others."""
        found = [{"row": number} | dict(zip(self._columns, row, strict=True)) for number, row in enumerate(rows)]
        if found != self._table.rows:
            self._table.rows = found
            self._empty.visible = not found


class Calls:
    """The latest calls; while one is unfolded they stay as they are."""

    def __init__(self) -> None:
        self._shown: list[Answered] = []
        self._slots: list[ui.expansion] = []
        self._texts: list[ui.label] = []
        with panel("Webhook calls", "half"):
            self._hint = ui.label("no calls yet").classes("quiet")
            for number in range(SHOWN_CALLS):
                with ui.expansion(on_value_change=lambda event, number=number: self._unfold(number, event.value)) as slot:
                    self._texts.append(ui.label().classes("json"))
                self._slots.append(slot.classes("full-width").props("dense"))
                slot.visible = False

    def show(self, calls: Sequence[Answered]) -> None:
        """Show the latest, unless somebody reads."""
        if any(slot.value for slot in self._slots):
            self._hint.text = "these calls stay for as long as one is unfolded"
            return
        self._hint.text = "unfold one to see what was posted" if calls else "no calls yet"
        self._shown = list(calls[:SHOWN_CALLS])
        for number, slot in enumerate(self._slots):
            slot.visible = number < len(self._shown)
            if slot.visible:
                slot.text = described(self._shown[number])

    def _unfold(self, number: int, unfolded: bool) -> None:
        self._texts[number].text = body(self._shown[number]) if unfolded else ""


def described(call: Answered) -> str:
    """A call on one line."""
    when = datetime.fromtimestamp(call.at, UTC)
    documents = f"{call.documents:,} document{'s' * (call.documents != 1)}"
    return f"{when:%H:%M:%S.%f}"[:-3] + f" · {call.status} · {documents} · {call.size:,} bytes · {call.after:,.0f} ms"


def body(call: Answered) -> str:
    """What was posted, as it came, or its beginning."""
    more = call.documents - len(call.lines)
    return f"webhook-id: {call.id}\n" + "\n".join(call.lines) + (f"\n… {more:,} more" if more > 0 else "")
