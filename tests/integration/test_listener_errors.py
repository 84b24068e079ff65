"""What stops a listener: one sentence that says what to do, exit code 1, and nothing is lost."""

import pytest

from demo.webhook import Receiver
from tests.conftest import ROOT, VERSIONS, Database, migrate
from tests.listening import LISTENER, await_log, catch_up, expected, listen, listening
from tests.loading import assert_one_sentence, execute, newest
from tests.proxy import gathering
from tests.toggling import await_sent, commit, flips

URL = ("run", "--url", "http://127.0.0.1:9/", "--until-caught-up")
PUBLICATIONS = (ROOT / "migrations/sql/segment_publications_v01.sql").read_text().split("create publication")
CREATE_PUBLICATION = f"create publication{PUBLICATIONS[1]}"
FIRST_TO_WARN = 18
"""The first version that goes on without a publication that did not exist, and warns."""
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the specification's example


def assert_refused(database: Database, *words: str, arguments: tuple[str, ...] = URL, code: int = 1, **environment: str) -> str:
    """Assert that the command fails with one sentence; return all that it said."""
    done = listen(database, *arguments, **environment)
    assert done.returncode == code, done.stderr
    assert_one_sentence(done, *words)
    return done.stderr


@newest
def test_no_database(database: Database) -> None:
    for arguments in (URL, ("status",), ("drop",)):
        assert_refused(database, "The database cannot be reached", arguments=arguments, PGHOST="/nowhere")
        assert_refused(database, "does not exist", arguments=arguments, PGDATABASE="nowhere")


@newest
def test_not_migrated(empty_database: Database) -> None:
    database = empty_database
    assert_refused(database, "run alembic upgrade head first")
    migrate(database.environment, "upgrade", "0001")
    for arguments in (URL, ("status",), ("drop",)):
        assert_refused(database, "run alembic upgrade head first", arguments=arguments)


@newest
def test_a_role_without_grants(database: Database) -> None:
    role = database.name
    execute(database, f"create role {role} login replication")
    try:
        for arguments in (URL, ("status",), ("drop",)):
            assert_refused(database, "grant segment_listener to it", arguments=arguments, PGUSER=role)
        execute(database, f"grant segment_listener to {role}")
        with Receiver() as receiver:
            assert listen(database, "run", "--url", receiver.url, "--until-caught-up", PGUSER=role).returncode == 0
    finally:
        execute(database, f"drop role {role}")


@newest
def test_a_role_without_replication(database: Database) -> None:
    role = database.name
    execute(database, f"create role {role} login in role segment_listener")
    try:
        assert_refused(database, "give it the attribute REPLICATION", PGUSER=role)
    finally:
        execute(database, f"drop role {role}")


@newest
def test_another_server(database: Database) -> None:
    """And what the sentence says helps."""
    with Receiver(keep=True) as receiver:
        commit(database, flips(40))
        catch_up(database, receiver, "--from", "start")
        execute(database, "update segment_settings set system_identifier = system_identifier - 1")
        assert_refused(database, "run select segment_adopt() as its owner", "goes on where it was")
        execute(database, "set role segment_owner; select segment_adopt()")
        execute(database, "select pg_drop_replication_slot(%s)", database.name)  # a dump brings none
        commit(database, flips(40, first=40))
        catch_up(database, receiver)
    assert receiver.received() == expected(flips(80))


@newest
def test_a_missing_publication(database: Database) -> None:
    with Receiver() as receiver:
        execute(database, "drop publication segment_toggles")
        assert_refused(database, "The publication does not exist")
        assert database.fetch("select from webhook_cursors") == []
        catch_up(database, receiver, "--publication", "segment_changes")


def test_a_publication_dropped_while_running(database: Database) -> None:
    commit(database, flips(8))
    with Receiver(keep=True) as receiver:
        with listening(database, receiver, "--from", "start") as listener:
            await_log(listener, "delivered")
            await_sent(database)
            execute(database, "drop publication segment_toggles")
            commit(database, flips(8, first=8))
            _, log = listener.communicate(timeout=40)
            assert listener.returncode == 1, log
            assert log.splitlines()[-1].startswith("Error: The publication does not exist")
            assert "Traceback" not in log
        assert receiver.received() == expected(flips(8))
        execute(database, CREATE_PUBLICATION)
        assert_refused(
            database, "did not exist when", "listener drop", arguments=("run", "--url", receiver.url, "--until-caught-up")
        )
        assert listen(database, "drop").returncode == 0
        catch_up(database, receiver, "--from", "start")
        assert receiver.received() == expected(flips(8)) + expected(flips(16))


@pytest.mark.parametrize("server", [major for major in VERSIONS if major < FIRST_TO_WARN], indirect=True)
def test_a_stream_that_failed_before_it_was_read(database: Database) -> None:
    """The error came in one piece with the answer that streaming begins, and after it nothing does: no socket tells of it."""
    assert listen(database, *URL).returncode == 0
    execute(database, "drop publication segment_toggles")
    commit(database, flips(8))
    execute(database, CREATE_PUBLICATION)
    with gathering(database.server) as host:
        assert_refused(database, "did not exist when", "listener drop", PGHOST=host)


@pytest.mark.parametrize(
    ("arguments", "word", "code"),
    [
        (("--url", "ftp://u:s3cr3t@host/s3cr3t"), "http://", 1),
        (("--url", "s3cr3t"), "http://", 1),
        (("--secret", "whsec_s3cr3t"), "24 to 64 bytes", 1),
        (("--secret", SECRET) * 3, "two secrets at most", 2),
        (("--max-bytes", "4 apples"), "4MiB", 2),
        (("--max-bytes", "0"), "4MiB", 2),
        (("--max-documents", "0"), "range", 2),
        (("--timeout", "0"), "range", 2),
        (("--timeout", "nan"), "range", 2),
        (("--url", "http://exa mple/"), "names no host", 1),
        (("--slot", "Slot!"), "no slot's name", 2),
        (("--slot", "x" * 64), "no slot's name", 2),
        (("--from", "yesterday"), "now", 2),
        (("--publication", "other"), "segment_changes", 2),
    ],
)
@newest
def test_bad_options(database: Database, arguments: tuple[str, ...], word: str, code: int) -> None:
    done = database.run(*LISTENER, "run", "--url", "http://127.0.0.1:9/", *arguments, PGUSER="segment_listener")
    assert done.returncode == code
    assert_one_sentence(done, word)
    assert "s3cr3t" not in done.stderr
    assert SECRET not in done.stderr


@newest
def test_bad_secrets_in_the_environment(database: Database) -> None:
    assert "s3cr3t" not in assert_refused(database, "24 to 64 bytes", WEBHOOK_SECRET="whsec_s3cr3t")  # noqa: S106
    said = assert_refused(database, "two secrets at most", code=2, WEBHOOK_SECRET=" ".join([SECRET] * 3))
    assert SECRET not in said


def test_a_server_whose_log_cannot_be_streamed(own_database: Database) -> None:
    execute(own_database, "alter system set wal_level = replica")
    own_database.server.stop()
    own_database.server.start()
    if own_database.fetch("show wal_level") == [("logical",)]:  # the configuration file's setting is later than this one
        pytest.fail("wal_level was not changed")
    assert_refused(own_database, "set wal_level = logical and restart the server")
