"""The live page in a real headless Chromium, beside a whole demo: it shows what is, and its knobs do what they say."""

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser

from demo.pipeline import EPOCH
from tests.browsing import CHROMIUM, Demo, Window, chromium, running_demo
from tests.conftest import ROOT, copy_checkout
from tests.loading import wait_until

SHOTS = ROOT / ".demo/screenshots"

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="NOT TESTED IN A BROWSER: no chromium is installed (Debian's package: chromium)"
)

LONGEST_PAUSE = 1.5
EVENTS = "select coalesce(sum(events), 0)::bigint from segment_batches"
DELIVERED = "select delivered from webhook_cursors where slot = 'segment_demo'"
STREAMED = "select coalesce(bool_or(active), false) from pg_replication_slots where slot_name = 'segment_demo'"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    for checkout in copy_checkout(tmp_path_factory.mktemp("page") / "a checkout"):
        with running_demo(checkout, "--port", "0", "--rate", "500") as running:
            yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def window(demo: Demo, browser: Browser) -> Iterator[Window]:
    """A window of 1280 x 720 on a demo that runs as at its start; it may log no error and ask nobody else."""
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    opened = Window(page, demo.url)
    yield opened
    assert (opened.errors, opened.outside) == ([], [])
    opened.turn("events/s", 500)
    opened.turn("receiver delay, ms", 0)
    opened.turn("calls that fail, %", 0)
    opened.await_nothing_lost()
    page.close()


def await_growth(demo: Demo, query: str, by: int) -> None:
    """Wait until a figure of the database has grown by so much."""
    before = demo.one(query)
    assert isinstance(before, int)
    wait_until(lambda: (demo.one(query) or 0) >= before + by)  # type: ignore[operator]


def await_rest(demo: Demo, query: str) -> None:
    """Wait until a figure of the database has not changed for longer than the stream pauses between two batches."""
    last, since = demo.one(query), time.monotonic()

    def rests() -> bool:
        nonlocal last, since
        if (found := demo.one(query)) != last:
            last, since = found, time.monotonic()
        return time.monotonic() - since > LONGEST_PAUSE

    wait_until(rests)


def test_it_shows_what_happens(window: Window) -> None:
    assert window.page.title() == "pgsegments"
    sent = window.number("joined")
    wait_until(lambda: window.number("joined") > sent)
    wait_until(lambda: window.page.locator(".arrow").first.inner_text().split()[0] not in ("-", "0"))
    for chart in window.page.locator(".nicegui-echart").all():
        assert chart.locator("svg path").count() > 3
    wait_until(lambda: "vendor=" in window.text("Newest files of the lake"))
    assert "seg-0" in window.text("Largest segments")
    wait_until(lambda: "caught up" in window.figure("state"))
    text = window.page.inner_text("body")
    assert not any(wrong in text for wrong in ("NaN", "undefined", "None", "null", "inf"))


def test_a_call_unfolds_to_its_json(window: Window) -> None:
    window.page.locator(".q-expansion-item").first.click()
    body = window.page.locator(".json").first
    wait_until(lambda: '"previous":' in body.inner_text())
    before = body.inner_text()
    joined = window.number("joined")
    wait_until(lambda: window.number("joined") > joined)
    assert body.inner_text() == before
    window.page.locator(".q-expansion-item").first.click()


def test_the_rate(demo: Demo, window: Window) -> None:
    window.turn("events/s", 0)
    await_rest(demo, EVENTS)
    wait_until(lambda: "paused" in window.state("generator"))
    window.turn("events/s", 8000)
    await_growth(demo, EVENTS, 20_000)
    slider = window.page.get_by_role("slider", name="events/s", exact=True)
    assert slider.get_attribute("aria-valuenow") == "8000"
    slider.locator("[tabindex]").press("ArrowLeft")
    wait_until(lambda: window.page.get_by_role("spinbutton", name="events/s").input_value() == "7900")


def test_the_receiver(demo: Demo, window: Window) -> None:
    window.turn("receiver delay, ms", 1500)
    wait_until(lambda: "1,50" in window.text("Webhook calls"))
    settings = httpx.get(f"{demo.receiver}settings").json()["settings"]
    assert settings["delay"] == 1500
    httpx.put(f"{demo.receiver}settings", json={"delay": 20}).raise_for_status()
    wait_until(lambda: window.page.get_by_role("spinbutton", name="receiver delay, ms").input_value() == "20")
    window.turn("calls that fail, %", 100)
    wait_until(lambda: str(demo.one("select answer from webhook_cursors")).startswith("503"))
    wait_until(lambda: "503" in window.text("Webhook calls"))
    await_rest(demo, DELIVERED)


def test_pause_and_resume(demo: Demo, window: Window) -> None:
    window.switch("stream")
    await_rest(demo, EVENTS)
    wait_until(lambda: "paused" in window.state("generator"))
    wait_until(lambda: "caught up" in window.figure("state"))
    window.switch("stream")
    await_growth(demo, EVENTS, 500)
    window.switch("listener")
    wait_until(lambda: demo.one(STREAMED) is False)
    wait_until(lambda: "paused" in window.state("listener"))
    await_growth(demo, EVENTS, 2000)
    wait_until(lambda: "behind" in window.figure("state"))
    window.switch("listener")
    wait_until(lambda: demo.one(STREAMED) is True)
    await_growth(demo, DELIVERED, 1)


def test_the_listener_is_killed(demo: Demo, window: Window) -> None:
    pid = "select active_pid from pg_replication_slots where slot_name = 'segment_demo'"
    before = demo.one(pid)
    assert before
    window.press("Kill -9 the listener")
    wait_until(lambda: demo.one(pid) not in (None, before))
    wait_until(lambda: "killed and is started again" in window.text("Faults"))
    await_growth(demo, DELIVERED, 1)


def test_postgresql_is_restarted(demo: Demo, window: Window) -> None:
    window.turn("events/s", 3000)
    started = "select extract(epoch from pg_postmaster_start_time())"
    before = demo.one(started)
    window.press("Restart PostgreSQL")
    wait_until(lambda: window.alert)
    assert "They go on when it is back" in window.page.get_by_role("alert").inner_text()
    wait_until(lambda: demo.one(started) not in (None, before))
    wait_until(lambda: not window.alert)
    await_growth(demo, EVENTS, 3000)


def test_somebody_else_stops_postgresql(demo: Demo, window: Window) -> None:
    demo.server.stop()
    wait_until(lambda: window.alert and "down" in window.state("PostgreSQL"))
    demo.server.start()
    wait_until(lambda: not window.alert and "running" in window.state("PostgreSQL"))
    await_growth(demo, EVENTS, 500)


def test_the_receiver_is_cut(demo: Demo, window: Window) -> None:
    window.press("Cut the receiver")
    wait_until(lambda: "cut off" in window.state("webhook"))
    await_rest(demo, DELIVERED)
    with pytest.raises(httpx.ConnectError):
        httpx.get(demo.receiver)
    window.press("Connect the receiver")
    await_growth(demo, DELIVERED, 1)


def test_everything_is_folded_anew(window: Window) -> None:
    window.press("Fold all events anew")
    wait_until(lambda: "✓ dbt test" in window.text("Nothing is lost"))


def reset(demo: Demo, window: Window) -> None:
    """Empty everything by the button."""
    before = demo.one(EPOCH)
    window.press("Reset")
    window.press("Empty everything")
    wait_until(lambda: demo.one(EPOCH) not in (None, before))
    window.await_nothing_lost()


def test_a_wrong_membership_is_seen_and_kept(demo: Demo, window: Window) -> None:
    demo.fetch("update segment_memberships set member = not member returning user_id")
    wait_until(lambda: "unlike their fold" in window.text("Nothing is lost"))
    window.press("Fold all events anew")
    wait_until(lambda: "✗ dbt test has found" in window.text("Nothing is lost"))
    assert "memberships_equal_the_fold" in window.text("Nothing is lost")
    assert "something is wrong" in window.text("Nothing is lost")
    reset(demo, window)


def test_lost_toggles_are_said_to_be_lost(demo: Demo, window: Window) -> None:
    """Somebody moves the slot over toggles that nobody has delivered."""
    window.turn("events/s", 2000)
    window.switch("listener")
    wait_until(lambda: demo.one(STREAMED) is False)
    await_growth(demo, EVENTS, 6000)
    demo.one("select pg_replication_slot_advance('segment_demo', pg_current_wal_lsn())::text")
    window.switch("listener")
    wait_until(lambda: re.search(r"[1-9][\d,]* toggles are lost", window.text("Nothing is lost")))
    assert "something is wrong" in window.text("Nothing is lost")
    reset(demo, window)


def test_dead_letters_are_neither_lost_nor_on_their_way(demo: Demo, window: Window) -> None:
    settings = f"{demo.receiver}settings"
    httpx.put(settings, json={"status": 400}).raise_for_status()
    wait_until(lambda: re.search(r"[1-9]\d* are dead letters", window.text("Nothing is lost")))
    httpx.put(settings, json={"status": 200}).raise_for_status()
    window.turn("events/s", 0)
    wait_until(lambda: "every toggle has reached the webhook" in window.text("Nothing is lost"))
    assert "lost:" not in window.text("Nothing is lost")
    window.turn("events/s", 500)
    reset(demo, window)


def test_somebody_else_empties_the_tables(demo: Demo, window: Window) -> None:
    await_growth(demo, EVENTS, 1000)
    with demo.server.connect("demo") as connection:
        connection.execute("select segment_reset()")
        ((theirs,),) = connection.execute(EPOCH).fetchall()
    wait_until(lambda: demo.one(EPOCH) not in (None, theirs))  # the demo has begun anew with them
    wait_until(lambda: "somebody has emptied the tables" in window.text("Faults"))
    window.await_nothing_lost()
    wait_until(lambda: "vendor=" in window.text("Newest files of the lake"))
    assert "running" in window.state("lake")


def test_reset(demo: Demo, window: Window) -> None:
    first = "select min(batch_id) from segment_batches"
    before = demo.one(first)
    assert before
    window.press("Reset")
    window.press("Cancel")
    await_growth(demo, EVENTS, 500)
    assert demo.one(first) == before
    window.turn("events/s", 0)
    await_rest(demo, EVENTS)
    window.press("Reset")
    window.press("Empty everything")
    wait_until(lambda: demo.one("select count(*) from segment_events") == 0)
    wait_until(lambda: window.figure("joined") == "0" and window.figure("toggles received") == "0 of 0")
    wait_until(
        lambda: "no calls yet" in window.text("Webhook calls") and "no files yet" in window.text("Newest files of the lake")
    )
    assert not list((demo.checkout / ".demo/lake").rglob("*.gz"))
    text = window.page.inner_text("body")
    assert not any(wrong in text for wrong in ("NaN", "undefined", "None", "null", "inf"))


def test_the_live_queries(demo: Demo, window: Window) -> None:
    shown = window.page.get_by_role("region", name="Live queries")
    ((user,),) = demo.fetch("select user_id from segment_profiles where active_count > 1 order by user_id desc limit 1")
    shown.get_by_role("textbox", name="user").fill(str(user))
    wait_until(lambda: str(user) in shown.locator("tbody").inner_text())
    shown.get_by_role("combobox").click()
    window.page.get_by_text("Who is in the segments of this vendor now?").click()
    shown.get_by_role("textbox", name="vendor").fill("4")
    shown.get_by_role("textbox", name="segment").fill("seg-3")
    wait_until(lambda: "seg-3" in shown.locator("tbody").inner_text())
    assert "where vendor = :vendor" in shown.locator(".sql").inner_text()
    shown.get_by_role("textbox", name="segment").fill("' or true; drop table segment_events; --")
    wait_until(lambda: "no rows" in shown.inner_text())
    shown.get_by_role("textbox", name="vendor").fill("four")
    wait_until(lambda: "must be a whole number" in shown.inner_text())
    await_growth(demo, EVENTS, 100)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 720), (768, 1024), (390, 844)])
def test_it_is_readable(demo: Demo, browser: Browser, scheme: str, width: int, height: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    window = Window(page, demo.url)
    wait_until(lambda: window.number("joined") > 0)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate("getComputedStyle(document.body).fontVariantNumeric") == "tabular-nums"
    dark = page.evaluate("document.body.classList.contains('body--dark')")
    assert dark == (scheme == "dark")
    placed = boxes(window)
    joined = window.number("joined")
    wait_until(lambda: window.number("joined") > joined + 200)
    assert boxes(window) == placed
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{scheme}-{width}.png", full_page=True)
    assert (window.errors, window.outside) == ([], [])
    page.close()


def boxes(window: Window) -> list[object]:
    """Where the parts of the flow and the panels stand."""
    return [element.bounding_box() for element in window.page.locator(".node, .arrow, .panel").all()]


def test_the_keyboard_reaches_everything(window: Window) -> None:
    reached = set()
    for _ in range(60):
        window.page.keyboard.press("Tab")
        reached.add(window.page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.innerText"))
    named = " / ".join(str(name) for name in reached)
    for control in ("events/s", "receiver delay, ms", "calls that fail, %", "stream", "listener", "Kill -9 the listener",
                    "Restart PostgreSQL", "Cut the receiver", "Reset", "Fold all events anew", "dark"):  # fmt: skip
        assert control in named, control


def test_it_answers_nobody_else(demo: Demo) -> None:
    evil = {"origin": "http://evil.example"}
    assert httpx.get(demo.url).status_code == 200
    assert httpx.get(demo.url, headers={"host": "evil.example"}).status_code == 403
    assert httpx.post(demo.url, headers=evil).status_code == 403
    assert httpx.get(f"{demo.url}_nicegui_ws/socket.io/?EIO=4&transport=polling", headers=evil).status_code == 403
    for path in ("docs", "openapi.json", "redoc"):
        assert httpx.get(demo.url + path).status_code == 404
    port = int(demo.url.rsplit(":", 1)[1].strip("/"))
    assert handshake(port, demo.url.strip("/")).startswith(b"HTTP/1.1 101")
    assert handshake(port, "http://evil.example").startswith(b"HTTP/1.1 403")
    assert handshake(port, None).startswith(b"HTTP/1.1 403")
    with pytest.raises(ConnectionRefusedError):  # where it would be if it listened on more than 127.0.0.1
        socket.create_connection(("127.0.0.2", port), 5).close()


def handshake(port: int, origin: str | None) -> bytes:
    """The beginning of the answer to a WebSocket's handshake."""
    lines = [
        "GET /_nicegui_ws/socket.io/?EIO=4&transport=websocket HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *([f"Origin: {origin}"] if origin else []),
    ]
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
        return connection.recv(1000)


def test_what_was_sent_is_there_whatever_was_turned_and_killed(checkout: Path, browser: Browser) -> None:
    with running_demo(checkout, "--port", "0", "--rate", "300", "--seconds", "25") as demo:
        page = browser.new_page()
        window = Window(page, demo.url)
        window.turn("events/s", 4000)
        await_growth(demo, EVENTS, 2000)
        loader, _ = demo.program("loader")
        os.kill(loader, signal.SIGKILL)
        wait_until(lambda: demo.program("loader")[0] not in (0, loader))
        window.switch("stream")
        window.turn("events/s", 1000)
        window.switch("stream")
        await_growth(demo, EVENTS, 500)
        window.switch("listener")
        window.turn("calls that fail, %", 100)
        window.press("Cut the receiver")
        wait_until(lambda: "cut off" in window.state("webhook"))
        assert demo.process.stdout
        said = demo.process.stdout.read()
        assert demo.process.wait(60) == 0, said
        page.close()
    assert "toggles reached the webhook, each once" in said


def test_it_ends_whatever_was_killed(checkout: Path, browser: Browser) -> None:
    with running_demo(checkout, "--port", "0") as demo:
        page = browser.new_page()
        window = Window(page, demo.url)
        await_growth(demo, EVENTS, 500)
        window.switch("stream")
        await_rest(demo, EVENTS)
        for name in ("loader", "lake", "listener"):
            before, _ = demo.program(name)
            os.kill(before, signal.SIGKILL)
            wait_until(lambda name=name, before=before: demo.program(name)[0] not in (0, before))  # type: ignore[misc]
        window.switch("stream")
        await_growth(demo, EVENTS, 500)
        window.await_nothing_lost()
        demo.process.send_signal(signal.SIGTERM)
        assert demo.process.wait(60) == 0
        assert demo.process.stdout
        assert "Traceback" not in demo.process.stdout.read()
        for name in ("loader", "lake", "listener"):
            assert demo.program(name)[0] == 0
        page.close()
