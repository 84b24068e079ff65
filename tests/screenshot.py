"""`python -m tests.screenshot FILE`: a picture of the page at 1280 x 720, of a demo whose receiver was slow for a while."""

import signal
import sys
from pathlib import Path

from tests.browsing import Window, chromium, running_demo
from tests.conftest import ROOT
from tests.loading import wait_until

WIDTH, HEIGHT = 1280, 760
FAST, SLOW = 0, 1000
POINTS = 60
"""How many seconds the charts are to show, half of them with a slow receiver."""


def take(target: Path) -> None:
    """Run a demo and take the picture."""
    with running_demo(ROOT, "--rate", "5000") as demo, chromium() as browser:
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        window = Window(page, demo.url)
        for delay in (FAST, 250, 500, 750, SLOW, FAST):
            window.turn("receiver delay, ms", delay)
            sent = window.number("joined")
            wait_until(lambda sent=sent: window.number("joined") > sent + 5000 * POINTS / 30)  # type: ignore[misc]
        wait_until(window.nothing_is_lost)
        page.mouse.move(0, 0)
        page.screenshot(path=target)
        demo.process.send_signal(signal.SIGINT)  # so that its server ends, too
        demo.process.wait()


if __name__ == "__main__":
    take(Path(sys.argv[1]))
