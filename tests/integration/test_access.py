"""Who reads along, and who is at the other end: TLS to the database as libpq's environment asks for it, and a warning without."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from demo.webhook import Receiver
from tests.conftest import Database
from tests.events import make, ndjson
from tests.exporting import run as run_lake
from tests.listening import listen
from tests.loading import assert_one_sentence, events, newest
from tests.loading import run as run_loader
from tests.posting import record, toggling
from tests.tls import Authority, door

pytestmark = newest

NAME = "database.test"
WARNING = "without sslmode=verify-full"
ELSEWHERE = {"PGHOST": NAME, "PGHOSTADDR": "0.0.0.0"}  # noqa: S104 - no loopback address, though Linux connects it to this machine
HERE = {"PGHOST": NAME, "PGHOSTADDR": "127.0.0.1"}

Command = Callable[[Database, Path, dict[str, str]], CompletedProcess[str]]


def load(database: Database, _folder: Path, where: dict[str, str]) -> CompletedProcess[str]:
    return run_loader(database, "--lanes", "4", input=ndjson([make(number, f"u{number}") for number in range(20)]), **where)


def post(database: Database, _folder: Path, where: dict[str, str]) -> CompletedProcess[str]:
    record(database, toggling(10), 10)
    with Receiver() as receiver:
        done = listen(database, "run", "--url", receiver.url, "--from", "start", "--until-caught-up", **where)
        assert receiver.counters.documents == (9 if done.returncode == 0 else 0)
    return done


def status(database: Database, _folder: Path, where: dict[str, str]) -> CompletedProcess[str]:
    return listen(database, "status", **where)


def export(database: Database, folder: Path, where: dict[str, str]) -> CompletedProcess[str]:
    return run_lake(database, "export", folder / "lake", **where)


every_command = pytest.mark.parametrize("command", [load, post, status, export])


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom those trust that are to."""
    return Authority(tmp_path_factory.mktemp("tls") / "trusted")


@pytest.fixture
def verified(authority: Authority) -> dict[str, str]:
    """TLS to whom this authority vouches for, and to nobody else."""
    return {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(authority.certificate)}


@every_command
def test_a_connection_that_leaves_the_machine_is_warned_of_once(database: Database, tmp_path: Path, command: Command) -> None:
    with door(database.server) as through:
        done = command(database, tmp_path, through | ELSEWHERE)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(WARNING) == 1
    assert WARNING not in done.stdout


@every_command
def test_one_that_verifies_the_server_is_not(
    database: Database, tmp_path: Path, command: Command, authority: Authority, verified: dict[str, str]
) -> None:
    with door(database.server, authority.sign(f"DNS:{NAME}")) as through:
        done = command(database, tmp_path, through | ELSEWHERE | verified)
    assert done.returncode == 0, done.stderr
    assert WARNING not in done.stderr


def test_neither_is_one_within_the_machine(database: Database, tmp_path: Path) -> None:
    with door(database.server) as through:
        for where in (through, through | {"PGSSLMODE": "disable"}, {}):
            done = load(database, tmp_path, where)
            assert done.returncode == 0
            assert WARNING not in done.stderr


def test_tls_that_trusts_whoever_answers_is_warned_of(database: Database, tmp_path: Path, authority: Authority) -> None:
    with door(database.server, authority.sign("DNS:other.test")) as through:
        done = load(database, tmp_path, through | ELSEWHERE | {"PGSSLMODE": "require"})
    assert done.returncode == 0
    assert done.stderr.count(WARNING) == 1


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom nobody trusts."""
    return Authority(tmp_path_factory.mktemp("tls") / "other")


def of_another(_: Authority, other: Authority) -> Path:
    return other.sign(f"DNS:{NAME}")


def of_another_name(authority: Authority, _: Authority) -> Path:
    return authority.sign("DNS:other.test")


def expired(authority: Authority, _: Authority) -> Path:
    return authority.sign(f"DNS:{NAME}", days=-1)


@pytest.mark.parametrize("impostor", [of_another, of_another_name, expired])
def test_whoever_poses_as_the_server_gets_nothing(
    database: Database, tmp_path: Path, authority: Authority, other: Authority, impostor: Callable[[Authority, Authority], Path]
) -> None:
    verified = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(authority.certificate)}
    with door(database.server, impostor(authority, other)) as through:
        for command in (load, post, status, export):
            assert_one_sentence(command(database, tmp_path, through | HERE | verified), "cannot be reached", "certificate")
    assert events(database) == 10  # those that post() records beside the door


def test_a_server_without_tls_gets_nothing_from_who_wants_it(
    database: Database, tmp_path: Path, verified: dict[str, str]
) -> None:
    with door(database.server) as through:
        for mode in (verified, {"PGSSLMODE": "require"}):
            assert_one_sentence(load(database, tmp_path, through | HERE | mode), "does not support SSL")
    assert events(database) == 0
