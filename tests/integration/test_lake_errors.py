"""What a user can do wrong, and what can go wrong around the lake: one sentence each, and nothing lost."""

import errno
import os
import re
import signal
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Event

import psycopg
import pytest
from click.testing import CliRunner

import lake.fragment
from lake import ledger
from lake.cli import main
from lake.database import one, reading
from lake.events import lost_as_lost
from tests.conftest import Database
from tests.events import make, ndjson
from tests.exporting import check_equal, export, files, here, run, running
from tests.loading import assert_one_sentence, execute, finish, load, newest, sample, wait_until

TIMEOUTS = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "transaction_timeout"]

MANY = """
insert into segment_events (user_id, occurred_at, event_id, vendor, segment_name, value)
select 'u' || n, now(), gen_random_uuid(), 1 + n % 2, 's', repeat(md5(n::text), 100) from generate_series(1, 2000) n
"""


@newest
def test_verify_names_what_is_wrong(database: Database, tmp_path: Path) -> None:
    lines = ndjson(sample(90, 9)).splitlines()
    load(database, input="\n".join(line.replace('"vendor": 1', f'"vendor": {n % 6 + 1}') for n, line in enumerate(lines)))
    destination = tmp_path / "lake"
    export(database, destination)
    good = run(database, "verify", destination)
    assert (good.returncode, good.stdout) == (0, "6 files have 90 events; 0 events are not exported yet\n")
    missing, cut, changed, grown, fifo, *_ = files(destination)
    missing.unlink()
    cut.write_bytes(cut.read_bytes()[:-1])
    data = bytearray(changed.read_bytes())
    data[4] ^= 1
    changed.write_bytes(data)
    grown.write_bytes(grown.read_bytes() * 2)
    os.remove(fifo)
    os.mkfifo(fifo)
    foreign = destination / "events/vendor=1/foreign\n\x1b\udcff.jsonl.gz"
    foreign.write_bytes(b"")
    done = run(database, "verify", destination)
    assert_one_sentence(done, "not as it was written")
    said = [
        *((missing, "missing"), (cut, "truncated"), (changed, "altered"), (grown, "altered"), (fifo, "missing")),
        (destination / r"events/vendor=1/foreign\n\x1b\udcff.jsonl.gz", "foreign"),
    ]
    found = done.stdout.splitlines()
    assert len(found) == len(said) + 1
    for file, word in said:
        assert [line for line in found if line.startswith(f"{file.relative_to(destination)} is {word}")], (file, word)


@newest
def test_verify_compares_with_the_table(database: Database, tmp_path: Path) -> None:
    for number in range(3):
        load(database, input=ndjson([make(number)]))
        if number < 2:
            export(database, tmp_path)
    assert "2 files have 2 events; 1 events are not exported yet" in run(database, "verify", tmp_path).stdout
    removed = database.fetch("delete from lake_fragments where batches @> 2::bigint returning path")
    (tmp_path / str(removed[0][0])).unlink()
    done = run(database, "verify", tmp_path)
    assert_one_sentence(done, "not as it was written")
    assert "1 batches that should be in the lake are in none of its files" in done.stdout
    assert "the files have 1 events, the batches that were exported brought 2" in done.stdout


@newest
def test_what_cannot_be_exported(database: Database, empty_database: Database, tmp_path: Path) -> None:
    load(database, input=ndjson([make(1)]))
    file = tmp_path / "file"
    file.write_text("")
    assert_one_sentence(run(database, "export", file), str(file), "cannot be used")
    assert_one_sentence(run(database, "export", file / "in"), "cannot be used")
    assert_one_sentence(run(database, "export", "/proc/lake"), "/proc/lake")
    assert_one_sentence(run(database, "export", tmp_path), "did not export")
    assert_one_sentence(run(database, "export", "nonsense://x"), "nonsense")
    assert_one_sentence(run(database, "verify", tmp_path / "other"), "exported nothing")
    assert_one_sentence(run(empty_database, "export", tmp_path / "other"), "alembic upgrade head")
    assert_one_sentence(run(database, "export", tmp_path / "other", PGUSER="segment_listener"), "segment_lake")
    assert_one_sentence(run(database, "export", tmp_path / "other", PGHOST="/nonexistent"), "PGHOST")
    export(database, tmp_path / "lake")
    assert_one_sentence(run(database, "export", tmp_path / "lake", "--format", "parquet"), "holds jsonl.gz")


@pytest.mark.parametrize("url", ["s3://key:s3cr3t@bucket/lake", "s3://bucket/lake?secret=s3cr3t", "s3://bucket#s3cr3t"])
@pytest.mark.parametrize("command", ["export", "verify", "rebuild"])
def test_credentials_in_a_url_are_refused_and_not_shown(url: str, command: str) -> None:
    done = CliRunner().invoke(main, [command, url])
    assert done.exit_code == 1
    assert "AWS_SECRET_ACCESS_KEY" in done.stderr
    assert "s3cr3t" not in done.output


@newest
def test_a_full_disk(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is there of what did not fit, and the next export goes on."""
    load(database, input=ndjson(sample(50, 9)))
    for name, value in database.server.environment(database.name).items():
        monkeypatch.setenv(name, value)

    def full(_file: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(lake.fragment, "flush", full)
        done = CliRunner().invoke(main, ["export", str(tmp_path / "lake")])
    assert done.exit_code == 1
    assert re.fullmatch(r"Error: .*No space left on device. Make room.*\n", done.stderr)
    assert files(tmp_path / "lake") == []
    export(database, tmp_path / "lake")
    check_equal(database, tmp_path / "lake")


@newest
def test_another_server(database: Database, tmp_path: Path) -> None:
    """A dump's transaction ids mean nothing: neither before it is adopted, nor for a destination of before."""
    load(database, input=ndjson([make(1)]))
    export(database, tmp_path / "old")
    execute(database, "update segment_settings set system_identifier = 7")
    assert_one_sentence(run(database, "export", tmp_path / "new"), "segment_adopt()")
    execute(database, "set role segment_owner; select segment_adopt()")
    mark = tmp_path / "old/lake.json"
    mark.write_text(mark.read_text().replace('"system_identifier": "', '"system_identifier": "1'))
    assert_one_sentence(run(database, "export", tmp_path / "old"), "another database", "new destination")
    export(database, tmp_path / "new")
    database.execute(f"delete from lake_fragments where destination = '{tmp_path}/old'")
    check_equal(database, tmp_path / "new")


def test_the_server_goes_and_comes_back(own_database: Database, tmp_path: Path) -> None:
    load(own_database, input=ndjson([make(1)]))
    with running(own_database, "export", tmp_path, "--every", "50ms", "--linger", "0s") as process:
        wait_until(lambda: files(tmp_path))
        own_database.server.stop("immediate")
        own_database.server.start()
        load(own_database, input=ndjson([make(2)]))
        wait_until(lambda: len(files(tmp_path)) == 2)
        own_database.server.stop()
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    own_database.server.start()
    export(own_database, tmp_path)
    check_equal(own_database, tmp_path)


@pytest.mark.parametrize("options", [(), ("--every", "10ms", "--linger", "0s")], ids=["once", "every"])
def test_the_server_is_killed_while_it_copies(
    own_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """At once, when the first of two files is complete: more than any buffer holds is still to come."""
    execute(own_database, "select segment_ensure_partitions(current_date, current_date)")
    execute(own_database, MANY)
    on_disk, advance = lake.fragment.flush, ledger.advance
    kills: list[int] = []

    def killing(file: object) -> None:
        on_disk(file)
        if not kills:
            kills.append(1)
            own_database.server.kill()
            own_database.server.start()

    def ending(*arguments: object) -> None:
        advance(*arguments)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(lake.fragment, "flush", killing)
    if options:
        monkeypatch.setattr(ledger, "advance", ending)
    done = here(own_database, "export", tmp_path, *options)
    assert (done.returncode, len(kills)) == (0, 1), done.stderr
    check_equal(own_database, tmp_path)


def test_a_connection_that_is_lost_is_no_misuse(database: Database) -> None:
    """The server says why it ends a COPY, and is gone: that is more than one answer."""
    slow = "copy (select repeat('x', 100000), pg_sleep(greatest(0, n - 1) * 50) from generate_series(0, 2) n) to stdout"
    with database.connect(autocommit=True) as connection:

        def ended() -> None:
            with lost_as_lost(connection), connection.cursor() as cursor, cursor.copy(slow) as copy:
                next(iter(copy))
                database.fetch("select pg_terminate_backend(%s)", connection.info.backend_pid)
                list(copy)

        with pytest.raises(psycopg.OperationalError):
            ended()


@newest
def test_what_a_database_sets_for_others(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export takes as long as it takes."""
    names = [str(name) for (name,) in database.fetch("select name from pg_settings where name = any(%s)", TIMEOUTS)]
    for name in names:
        database.execute(f"alter database {database.name} set {name} = '1h'")
    for name, value in database.server.environment(database.name).items():
        monkeypatch.setenv(name, value)
    with closing(reading(0, Event())) as session:
        for name in names:
            assert session.run(partial(one, query=f"show {name}")) == ("0",), name


def test_a_server_that_stays_away(own_database: Database, tmp_path: Path) -> None:
    load(own_database, input=ndjson([make(1)]))
    with running(own_database, "export", tmp_path, "--every", "50ms", "--linger", "0s", "--retry-for", "300ms") as process:
        wait_until(lambda: files(tmp_path))
        own_database.server.stop("immediate")
        _, said = finish(process, 1)
    assert said.splitlines()[-1].startswith("Error: The server went away and did not come back in time")
    assert "Traceback" not in said
