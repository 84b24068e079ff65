"""What must never be seen: passwords and keys, in whatever a run says, keeps or shows of itself, whether it succeeds or fails."""

import base64
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import httpx
import pytest

from demo.calls import Answer, Call
from demo.webhook import Receiver
from tests.conftest import ROOT, Database
from tests.events import make, ndjson
from tests.exporting import run as run_lake
from tests.listening import LISTENER, ROLE, listen
from tests.loading import newest, wait_until
from tests.loading import run as run_loader
from tests.posting import record, toggling

pytestmark = newest

KEY = b"hunter2-" * 4
SECRETS = ("hunter2", base64.b64encode(KEY).decode(), KEY.hex(), base64.b64encode(b"user:hunter2url").decode())
NOWHERE = {"PGHOST": "/nonexistent"}
KEPT = """
select row_to_json(c)::text from webhook_cursors c
union all select row_to_json(l)::text from webhook_dead_letters l
union all select row_to_json(s)::text from segment_sources s
union all select row_to_json(d)::text from lake_destinations d
"""


def everything(done: CompletedProcess[str]) -> str:
    """What it said, and what `ps` would have shown of it."""
    return f"{done.args} {done.stdout} {done.stderr}"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """All that is secret, where it belongs."""
    service = tmp_path / "services"
    service.write_text("[segments]\npassword=hunter2service\nconnect_timeout=5\n")
    store = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "hunter2aws", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    postgres = {"PGPASSWORD": "hunter2pg", "PGSERVICEFILE": str(service), "PGSERVICE": "segments"}
    return postgres | store | {"WEBHOOK_SECRET": f"whsec_{base64.b64encode(KEY).decode()}", "PYTHONDEVMODE": "1"}


def hook(receiver: Receiver) -> str:
    """A receiver's URL with everything in it that may be secret."""
    return receiver.url.replace("//", "//user:hunter2url@") + "hunter2path?key=hunter2query"


def echoing(status: int) -> Callable[[Call], Answer]:
    """Answers with what it was sent, as frameworks do where they find no route or no sense."""
    return lambda call: Answer(status, {"retry-after": "0"}, f"Cannot POST {call.path} {dict(call.headers)}".encode())


def test_of_the_loader(database: Database, environment: dict[str, str], tmp_path: Path) -> None:
    events = ndjson([make(1), make(2)])
    done = [
        run_loader(database, input=events, **environment),
        run_loader(database, input="{", **environment),
        run_loader(database, tmp_path / "none", **environment),
        run_loader(database, input=events, **environment | NOWHERE),
        run_loader(database, input=events, **environment | {"PGUSER": "nobody_at_all"}),
        run_loader(database, input=events, **environment | {"PGSERVICE": "other"}),
        run_loader(database, input=events, **environment | {"PGSSLMODE": "rubbish"}),
        database.loader("status", **environment),
    ]
    check(database, done, [0, 0, 1, 1, 1, 1, 1, 0])


def test_of_the_lake(database: Database, environment: dict[str, str], tmp_path: Path) -> None:
    done = [
        run_lake(database, "export", tmp_path / "lake", **environment),
        run_lake(database, "verify", tmp_path / "lake", **environment),
        run_lake(database, "export", tmp_path / "lake", **environment | NOWHERE),
        run_lake(database, "export", "s3://bucket/lake", **environment | {"AWS_MAX_ATTEMPTS": "1"}),
    ]
    check(database, done, [0, 0, 1, 1])


@pytest.mark.parametrize("status", [200, 400, 413])
def test_of_the_listener(database: Database, environment: dict[str, str], status: int) -> None:
    record(database, toggling(4), 4)
    with Receiver(answer=echoing(status)) as receiver:
        where = environment | {"WEBHOOK_URL": hook(receiver)}
        arguments = ("run", "--from", "start", "--until-caught-up")
        done = [
            listen(database, *arguments, **where),
            listen(database, "run", "--until-caught-up", "--log-json", **where),
            listen(database, *arguments, **where | NOWHERE),
            listen(database, "status", "--json", **where),
            listen(database, "dead-letters", "list", **where),
            listen(database, "replay", **where),
        ]
    check(database, done, [0, 0, 1, 0, 0, status != 200])
    assert database.fetch("select count(*) from webhook_dead_letters") == [(3 * (status != 200),)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"WEBHOOK_URL": "http://user:hunter2@"},
        {"WEBHOOK_URL": "hunter2://h/"},
        {"WEBHOOK_URL": "http://user:hunter2@h:hunter2/"},
        {"WEBHOOK_SECRET": "whsec_hunter2"},
        {"HTTP_PROXY": "ftp://user:hunter2@h/"},
    ],
    ids=str,
)
def test_of_what_is_wrong(database: Database, environment: dict[str, str], wrong: dict[str, str]) -> None:
    done = listen(database, "run", "--until-caught-up", **{"WEBHOOK_URL": "http://h/"} | environment | wrong)
    check(database, [done], [1])


@pytest.fixture
def port() -> int:
    """A port that nobody else has just now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        found: int = free.getsockname()[1]
    return found


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where a process may write its log."""
    return tmp_path / "log"


@pytest.mark.parametrize("status", [503, 404, 301])
def test_of_a_listener_that_runs(database: Database, environment: dict[str, str], log: Path, port: int, status: int) -> None:
    """Its log, its command line, its metrics, and what it has told the database of calls that fail."""
    record(database, toggling(4), 4)
    command = [*LISTENER, "run", "--from", "start", "--slot", database.name, "--metrics-port", str(port)]
    with Receiver(answer=echoing(status)) as receiver, log.open("w") as written:
        where = database.environment | {"PGUSER": ROLE} | environment | {"WEBHOOK_URL": hook(receiver)}
        with subprocess.Popen(command, cwd=ROOT, env=where, stderr=written) as listener:
            try:
                wait_until(lambda: f'answer="{status} ' in log.read_text() or listener.poll() is not None)
                wait_until(lambda: database.fetch("select from webhook_cursors where answer is not null"))
                shown = Path(f"/proc/{listener.pid}/cmdline").read_text()
                shown += httpx.get(f"http://127.0.0.1:{port}/metrics").raise_for_status().text
                listener.terminate()
                assert listener.wait(60) == 0
            finally:
                listener.kill()
    assert f'answer="{status} ' in log.read_text()
    assert_hidden(database, shown + log.read_text())


def check(database: Database, done: list[CompletedProcess[str]], codes: list[int]) -> None:
    """Assert that they ended so, without a traceback, and that nothing secret was said or kept."""
    assert [one.returncode for one in done] == codes, "\n".join(one.stderr for one in done)
    assert_hidden(database, "".join(map(everything, done)))


def assert_hidden(database: Database, said: str) -> None:
    """Assert that nothing secret is in it, nor in what the database keeps or its server logs of it."""
    kept = "".join(str(row) for row in database.fetch(KEPT))
    logged = "".join(re.findall(rf".*{database.name}.*", (database.server.folder / "server.log").read_text()))
    for secret in SECRETS:
        assert secret not in said + kept + logged
    assert "Traceback" not in said
