"""The loader when the connection, the server or the password fails: nothing is lost or comes twice, and one sentence says why."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.postgres import Server
from tests.conftest import Database
from tests.events import document, make
from tests.loading import (
    assert_one_sentence,
    check_exactly_once,
    documents,
    events,
    execute,
    finish,
    load,
    mostly_newest,
    newest,
    rejects,
    run,
    running,
    sample,
    spoil,
    wait_for_count,
    wait_until,
    write,
)
from tests.proxy import Proxy

SESSIONS = "from pg_stat_activity where application_name = 'pgsegments loader' and datname = current_database()"
WAITING = f"select {SESSIONS} and wait_event_type = 'Lock'"


@pytest.fixture
def proxy(server: Server) -> Iterator[tuple[Proxy, str]]:
    """A proxy and its PGHOST; the folder's path is short, as a socket's must be."""
    with tempfile.TemporaryDirectory(prefix="proxy-") as folder:
        proxy = Proxy(server, Path(folder))
        yield proxy, folder
        proxy.close()


@mostly_newest("users, lanes", {"2-3": (2, "3"), "300-2": (300, "2"), "300-16": (300, "16")})
def test_commits_whose_answer_is_lost(
    database: Database, tmp_path: Path, proxy: tuple[Proxy, str], users: int, lanes: str
) -> None:
    good = sample(600, users)
    path = write(tmp_path / "events", spoil(documents(good), 37))
    options = ("--lanes", lanes, "--batch-size", "600" if lanes == "16" else "40")
    assert load(database, *options, path, PGHOST=proxy[1]) == (600, 0, 16)
    check_exactly_once(database, path, good)
    assert proxy[0].cuts > 2


@newest
def test_told_to_stop_once_the_server_has_ended_its_idle_connections(database: Database, tmp_path: Path) -> None:
    path = write(tmp_path / "events", documents(sample(50, 10)))
    with running(database, "--follow", path) as process:
        wait_for_count(database, 50, process)
        execute(database, f"select pg_terminate_backend(pid, 10000) {SESSIONS}")
        process.terminate()
        finish(process)


@newest
def test_loaders_that_share_users_and_meet_what_is_refused_do_not_deadlock(database: Database, tmp_path: Path) -> None:
    """A batch of which the server refuses a row takes its keys by several statements, in the order of every other batch's."""
    execute(database, f"alter database {database.name} set deadlock_timeout to '10ms'")
    refused = document(make(0))[:-1] + ', "number": 1e200000}'
    paths = []
    for number in range(3):
        lines = documents(sample(1000, 40, seed=number + 1))
        for at in range(25, 1000, 50):
            lines[at] = refused.replace("-0000", f"-{number}{at:03}", 1)
        paths.append(write(tmp_path / str(number), lines))
    begun = [running(database, "--batch-size", "50", "--lanes", "1", path) for path in paths]
    with begun[0] as one, begun[1] as two, begun[2] as three:
        with database.connect() as connection:
            connection.execute("lock table segment_events in exclusive mode")  # so that all begin at once
            wait_until(lambda: len(database.fetch(WAITING)) == len(begun))
        for process in (one, two, three):
            finish(process)
    assert events(database) + len(rejects(database)) == 3 * 1000
    assert database.fetch("select deadlocks from pg_stat_database where datname = current_database()") == [(0,)]


@newest
def test_a_pipe_whose_commits_are_lost(database: Database, proxy: tuple[Proxy, str]) -> None:
    """Events are known by their identity; where a commit was unclear, they may be counted as duplicates."""
    lines = "\n".join(documents(sample(400, 50)))
    loaded, duplicates, _ = load(database, "--batch-size", "40", input=lines, PGHOST=proxy[1])
    assert loaded + duplicates == events(database) == 400


@newest
def test_sessions_terminated_again_and_again(database: Database, tmp_path: Path) -> None:
    good = sample(1_500, 200)
    path = write(tmp_path / "events", spoil(documents(good), 37))
    with running(database, "--batch-size", "20", "--lanes", "3", "--rate", "3000", path) as process:
        for reached in range(50, 1_500, 120):
            wait_for_count(database, reached, process)
            database.fetch(f"select pg_terminate_backend(pid) {SESSIONS} and (random() < .5 or query ~* 'commit')")
        out, _ = finish(process)
    assert json.loads(out)["loaded"] == 1_500
    check_exactly_once(database, path, good)


@pytest.mark.parametrize("how", ["immediate", "fast", "kill"])
def test_the_server_stops_and_starts(own_database: Database, tmp_path: Path, how: str) -> None:
    server = own_database.server
    good = sample(3_000, 200)
    path = write(tmp_path / "events", spoil(documents(good), 37))
    with running(own_database, "--batch-size", "20", "--lanes", "3", "--rate", "4000", path) as process:
        for reached in (100, 1_500):
            wait_for_count(own_database, reached, process)
            if how == "kill":
                server.kill()
            else:
                server.stop(how)  # type: ignore[arg-type]
            assert process.poll() is None
            server.start()
        out, _ = finish(process)
    assert json.loads(out)["loaded"] == 3_000
    check_exactly_once(own_database, path, good)


def test_the_server_does_not_come_back(own_database: Database, tmp_path: Path) -> None:
    good = sample(3_000, 200)
    path = write(tmp_path / "events", spoil(documents(good), 37))
    with running(own_database, "--batch-size", "20", "--rate", "2000", "--retry-for", "2s", path) as process:
        wait_for_count(own_database, 100, process)
        own_database.server.stop("immediate")
        _, err = finish(process, 1)
    assert err.splitlines()[-1].startswith("Error: The server went away and did not come back in time")
    assert "Traceback" not in err
    own_database.server.start()
    load(own_database, "--lanes", "5", path)
    check_exactly_once(own_database, path, good)


def test_a_signal_while_the_server_is_away(own_database: Database, tmp_path: Path) -> None:
    good = sample(3_000, 200)
    path = write(tmp_path / "events", documents(good))
    with running(own_database, "--batch-size", "20", "--rate", "2000", path) as process:
        wait_for_count(own_database, 100, process)
        own_database.server.stop("immediate")
        process.terminate()
        _, err = finish(process, 1)
    assert "Traceback" not in err
    own_database.server.start()
    load(own_database, path)
    check_exactly_once(own_database, path, good)


def test_a_wrong_password(own_database: Database, tmp_path: Path) -> None:
    path = write(tmp_path / "events", documents(sample(5, 2)))
    access = own_database.server.data / "pg_hba.conf"
    before = access.read_text()
    execute(own_database, "alter role segment_loader password 'right'")
    access.write_text(f"local all segment_loader scram-sha-256\n{before}")
    execute(own_database, "select pg_reload_conf()")
    try:
        wait_until(lambda: run(own_database, path, PGPASSWORD="wrong").returncode)
        assert_one_sentence(run(own_database, path, PGPASSWORD="wrong"), "password authentication failed")
        assert_one_sentence(run(own_database, path), "password")
        assert events(own_database) == 0
        assert load(own_database, path, PGPASSWORD="right") == (5, 0, 0)
    finally:
        access.write_text(before)
        execute(own_database, "select pg_reload_conf()")


def test_no_server(own_database: Database, tmp_path: Path) -> None:
    path = write(tmp_path / "events", documents(sample(5, 2)))
    own_database.server.stop()
    assert_one_sentence(run(own_database, path), "The database cannot be reached")
