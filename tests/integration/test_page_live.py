"""The page's live queries beside psql's, and what of the page needs no browser."""

import csv
import io
import json
import socket

import httpx
import psycopg
import pytest
from click.testing import CliRunner
from rich.console import Console

from demo import run
from demo.__main__ import main
from demo.calls import Call
from demo.errors import PageError
from demo.page import queries
from demo.page.live import MOST_ROWS, NAMES, Reader
from demo.record import KEPT_CALLS, KEPT_LINES, Record
from demo.webhook import Receiver
from tests.conftest import ROOT, Database
from tests.loading import newest


class OfTest(Reader):
    """A reader of a test's database."""

    def __init__(self, database: Database) -> None:
        super().__init__(database.server)
        self._connection = database.connect("segment_reader", autocommit=True)


@newest
def test_they_return_what_psql_returns(built: Database) -> None:
    ((user, vendor, segment),) = built.fetch("select user_id, vendor, segment_name from segment_memberships where member limit 1")
    wanted = {
        "user": str(user),
        "from_user": str(user),
        "to_user": f"{user}~",
        "vendor": str(vendor),
        "segment": str(segment),
        "rows": "10",
    }
    reader = OfTest(built)
    for name in NAMES:
        query = queries.read(name)
        variables = [word for variable, value in query.bound(wanted).items() for word in ("-v", f"{variable}={value}")]
        done = built.psql("-U", "segment_reader", "--csv", *variables, "-f", ROOT / f"queries/{name}.sql")
        columns, rows = reader.ask(query, wanted)
        assert rows, name
        assert len(rows) <= MOST_ROWS
        found = csv.reader(io.StringIO(done.stdout, newline=""))
        assert any(str(rows[0][0]) in cell for row in found for cell in row), name
        assert len(columns) == len(rows[0])
    reader.close()


@newest
@pytest.mark.parametrize("name", NAMES)
def test_a_value_is_only_a_value(built: Database, name: str) -> None:
    query, reader = queries.read(name), OfTest(built)
    before = built.fetch("select count(*) from segment_events")
    for text in ("' or true --", "'; drop table segment_events; --", "%(user)s", "ü", "\\", "x" * 10_000):
        _, rows = reader.ask(query, {"user": text, "from_user": text, "to_user": text, "segment": text})
        assert name == "pg_event_outcomes" or rows == []
    assert built.fetch("select count(*) from segment_events") == before
    reader.close()


@newest
def test_a_value_that_no_text_can_be_is_refused_by_the_driver(built: Database) -> None:
    reader = OfTest(built)
    with pytest.raises(psycopg.DataError):
        reader.ask(queries.read("pg_user_point_lookup"), {"user": "\0"})
    with pytest.raises(ValueError, match="1e9"):
        reader.ask(queries.read("pg_segment_membership"), {"vendor": "1e9"})
    assert reader.ask(queries.read("pg_segment_membership"), {"vendor": "9" * 30})[1] == []
    reader.close()


def test_the_next_free_port_is_taken_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with run.listen(port, Console()) as found:
            assert port < found.getsockname()[1] < port + run.PORTS
            shown = f"http://127.0.0.1:{found.getsockname()[1]}/"
    out = capsys.readouterr().out
    assert shown in out
    assert f"port {port} is taken" in out


def test_no_free_port_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "PORTS", 1)
        with pytest.raises(PageError, match="all taken"):
            run.listen(taken.getsockname()[1], Console())


@pytest.mark.parametrize(
    ("arguments", "display", "page"),
    [
        ([], {}, None),
        ([], {"DISPLAY": ":0"}, 8642),
        ([], {"WAYLAND_DISPLAY": "wayland-0"}, 8642),
        (["--no-page"], {"DISPLAY": ":0"}, None),
        (["--page"], {}, 8642),
        (["--page", "--port", "9999"], {}, 9999),
        (["--seconds", "5"], {"DISPLAY": ":0"}, None),
        (["--seconds", "5", "--page"], {}, 8642),
    ],
)
def test_where_it_is_shown(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], display: dict[str, str], page: int | None
) -> None:
    """Which view the options and the environment choose; what the views do is tested elsewhere."""
    asked: list[int | None] = []

    def demo(_rate: float, _seconds: float | None, page: int | None) -> bool:
        asked.append(page)
        return True

    monkeypatch.setattr(run, "demo", demo)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    done = CliRunner().invoke(main, arguments, env=display)
    assert done.exit_code == 0, done.output
    assert asked == [page]


def call(body: bytes, status: int = 200) -> Call:
    made = Call.of(0.0, "/", {"webhook-id": "msg_1"}, body)
    made.status = status
    return made


def test_the_record_knows_toggles_and_shows_anything() -> None:
    record = Record()
    toggle = json.dumps(
        [{"event": "e", "user": "u", "timestamp": "2026-01-02T03:04:05Z", "segment": {"vendor": 1, "name": "s"}, "more": {}}]
    ).encode()
    record.add(call(toggle))
    record.add(call(toggle, status=503))
    for rubbish in (b"", b"{", b"[]", b"[1]", b'[{"event": "e"}]', b"\xff\n\xff", b'[{"event":1,"user":"u","timestamp":"x"}]'):
        record.add(call(rubbish))
    assert [arrival.toggle.user for arrival in record.take()] == ["u"]
    assert record.take() == []
    assert [found.status for found in record.calls][-2:] == [503, 200]
    for _ in range(KEPT_CALLS * 2):
        record.add(call(b"[\n" + b",\n".join([b"x" * 5000] * 100) + b"\n]"))
    assert len(record.calls) == KEPT_CALLS
    assert {len(found.lines) for found in record.calls} == {KEPT_LINES}
    assert record.calls[0].documents == 100


def test_a_receiver_tells_of_what_it_answers() -> None:
    told: list[Call] = []
    with Receiver(on_answer=told.append) as receiver:
        httpx.post(receiver.url, content=b"[1]").raise_for_status()
        receiver.settings.fail_rate = 1
        httpx.post(receiver.url, content=b"[2]")
        assert [(found.status, found.body) for found in told] == [(200, b"[1]"), (503, b"[2]")]
        assert receiver.counters.calls == 2
        receiver.clear()
        assert (receiver.counters.calls, receiver.calls) == (0, [])
        assert receiver.listening
    assert not receiver.listening
