"""A demo with its page in a checkout of its own, and a real headless Chromium that looks at it."""

import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from demo.postgres import Server, installations
from tests.conftest import VERSIONS, Row
from tests.loading import wait_until

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]


@dataclass
class Demo:
    """A running demo: its process, the page's address, and what it has printed."""

    checkout: Path
    process: subprocess.Popen[str]
    url: str

    @property
    def server(self) -> Server:
        """Its PostgreSQL."""
        return Server(self.checkout / f".demo/postgres-{VERSIONS[0]}", installations()[VERSIONS[0]])

    def program(self, name: str) -> tuple[int, list[str]]:
        """The process id and the command line of one of its programs; 0 and none where it does not run."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has just ended
                words = (process / "cmdline").read_text().split("\0")
                if name in words and "generate" not in words and (process / "cwd").resolve() == self.checkout.resolve():
                    return int(process.name), words
        return 0, []

    @property
    def receiver(self) -> str:
        """Where the stand-in listens."""
        _, words = self.program("listener")
        return words[words.index("--url") + 1]

    def fetch(self, query: str, *values: object) -> list[Row]:
        """Run one query on its database, as a superuser."""
        with self.server.connect("demo", autocommit=True) as connection:
            return connection.execute(query.encode(), values or None).fetchall()

    def one(self, query: str, *values: object) -> object:
        """The only value of a query; None while the server is away."""
        try:
            ((found,),) = self.fetch(query, *values)
        except psycopg.OperationalError:
            return None
        return found


@contextlib.contextmanager
def running_demo(checkout: Path, *arguments: str) -> Iterator[Demo]:
    """Start `python -m demo --page` and kill what is left of it afterwards; its output goes on in `process.stdout`."""
    command = [sys.executable, "-m", "demo", "--page", *arguments]
    process = subprocess.Popen(command, cwd=checkout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout
    first = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+/", first)
    assert found, first
    try:
        yield Demo(checkout, process, found[0])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Window:
    """The page in a window; `errors` and `outside` gather what it should never do."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._on_request)
        self.page.set_default_timeout(60_000)
        self.page.goto(self.url)
        wait_until(lambda: self.figure("joined") not in ("", "-"))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self.url, "data:")):
            self.outside.append(request.url)

    def figure(self, name: str) -> str:
        """What stands beside a name in one of the lists of figures."""
        cell = self.page.locator(
            f"xpath=//div[contains(@class, 'figures')]/*[normalize-space() = '{name}']/following-sibling::*[1]"
        )
        return cell.first.inner_text().strip()

    def number(self, name: str) -> int:
        """The first number beside a name."""
        found = re.search(r"[\d,]+", self.figure(name))
        assert found, name
        return int(found[0].replace(",", ""))

    def text(self, region: str) -> str:
        """The text of a panel."""
        return self.page.get_by_role("region", name=region, exact=True).inner_text()

    def state(self, node: str) -> str:
        """The text of a part in the picture of the flow."""
        return self.page.locator(".node").filter(has=self.page.get_by_text(node, exact=True)).inner_text()

    def turn(self, knob: str, value: float) -> None:
        """Set a knob by its box."""
        self.page.get_by_role("spinbutton", name=knob, exact=True).fill(str(value))

    def switch(self, name: str) -> None:
        """Flip a switch."""
        self.page.get_by_role("switch", name=name, exact=True).click()

    def press(self, button: str) -> None:
        """Press a button."""
        self.page.get_by_role("button", name=button).click()

    @property
    def alert(self) -> bool:
        """Whether the page says that PostgreSQL is away."""
        return self.page.get_by_role("alert").filter(visible=True).count() > 0

    def nothing_is_lost(self) -> bool:
        """Whether every toggle was received and no other, and the keys that changed last equal their fold."""
        received = re.fullmatch(r"([\d,]+) of ([\d,]+)", self.figure("toggles received"))
        keys = re.fullmatch(r"(\d+) of (\d+) just changed", self.figure("keys like their fold"))
        assert received
        assert keys
        return (
            received[1] == received[2] != "0"
            and keys[1] == keys[2] != "0"
            and "something is wrong" not in self.text("Nothing is lost")
        )

    def await_nothing_lost(self) -> None:
        """Wait until nothing is lost, or tell what is."""
        try:
            wait_until(self.nothing_is_lost)
        except AssertionError:
            raise AssertionError(
                self.text("Nothing is lost") + self.text("Listener and its slot") + self.text("The flow")
            ) from None
