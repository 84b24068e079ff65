"""An object store: S3, by a stand-in on this machine."""

import gzip
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from s3fs import S3FileSystem  # type: ignore[import-untyped]

from tests.conftest import Database, Row, clone
from tests.events import MEMBERSHIPS, make, ndjson
from tests.exporting import export, here, rebuild, recorded, row, run
from tests.loading import assert_one_sentence, load, newest, sample, wait_until

KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s3cr3t", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The stand-in's URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=os.environ | KEYS, **quiet) as process:  # type: ignore[call-overload]
        wait_until(lambda: answers(port))
        yield f"http://127.0.0.1:{port}"
        process.kill()


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def environment(endpoint: str) -> dict[str, str]:
    """What an S3 client needs to know."""
    return KEYS | {"AWS_ENDPOINT_URL": endpoint}


@pytest.fixture
def bucket(endpoint: str, tmp_path: Path) -> tuple[S3FileSystem, str]:
    """A client of the test's own, and a bucket."""
    client = S3FileSystem(key="a", secret="s3cr3t", endpoint_url=endpoint, skip_instance_cache=True)  # noqa: S106
    name = tmp_path.name.replace("_", "-").lower()
    client.mkdir(name)
    return client, name


@newest
@pytest.mark.parametrize("form", ["jsonl.gz", "parquet"])
def test_a_lake_in_a_bucket(
    database: Database, another: Database, environment: dict[str, str], bucket: tuple[S3FileSystem, str], form: str
) -> None:
    """Exported, verified, damaged, rebuilt; and emptied."""
    client, name = bucket
    url = f"s3://{name}/some/lake"
    for number in range(2):
        load(database, input=ndjson(sample(100, 9, number)))
        export(database, url, "--format", form, **environment)
    *found, mark = client.find(f"{name}/some/lake")
    assert (len(found), mark) == (2, f"{name}/some/lake/lake.json")
    if form == "jsonl.gz":
        lines = [
            (line.decode(), path.removeprefix(f"{name}/some/lake/").rpartition("/")[0])
            for path in found
            for line in gzip.decompress(client.cat_file(path)).splitlines()
        ]
        assert sorted((row(*line) for line in lines), key=lambda event: str(event[9]).zfill(9)) == recorded(database)
    assert run(database, "verify", url, **environment).returncode == 0
    done = rebuild(another, url, **environment)
    assert done.returncode == 0, done.stderr
    assert another.fetch(MEMBERSHIPS) == database.fetch(MEMBERSHIPS)
    client.rm_file(found[0])
    client.pipe_file(f"{name}/some/lake/events/foreign.gz", b"")
    done = run(database, "verify", url, **environment)
    assert_one_sentence(done, "not as it was written")
    assert "is missing" in done.stdout
    assert "events/foreign.gz is foreign" in done.stdout
    assert here(database, "export", f"S3A://{name}/some/lake//", "--format", form, **environment).returncode == 0
    assert_one_sentence(here(another, "export", url, **environment), "another database")
    client.rm(f"{name}/some", recursive=True)
    assert_one_sentence(here(database, "export", url, "--format", form, **environment), "not the lake that was exported to")


@newest
def test_a_lake_in_a_bucket_is_taken_over(
    database: Database,
    keeper: psycopg.Connection[Row],
    environment: dict[str, str],
    bucket: tuple[S3FileSystem, str],
) -> None:
    """By a copy, after which the original may not write to it any more."""
    url = f"s3://{bucket[1]}/lake"
    load(database, input=ndjson([make(1)]))
    export(database, url, **environment)
    with contextmanager(clone)(database.server, keeper, database.name) as copy:
        load(copy, input=ndjson([make(2)]))
        export(copy, url, "--take-over", **environment)
        assert run(copy, "verify", url, **environment).returncode == 0
        assert_one_sentence(here(database, "export", url, **environment), "another database", "--take-over")


@newest
def test_what_can_be_wrong_with_a_bucket(
    database: Database, environment: dict[str, str], bucket: tuple[S3FileSystem, str]
) -> None:
    load(database, input=ndjson([make(1)]))
    _, name = bucket
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    for changed, words in [
        ({}, ["no-such-bucket", "is not there"]),
        ({"AWS_ENDPOINT_URL": nobody, "AWS_MAX_ATTEMPTS": "1"}, ["does not answer"]),
        ({"AWS_PROFILE": "nobody"}, ["cannot be used", "nobody"]),
    ]:
        url = f"s3://{name}/lake" if changed else "s3://no-such-bucket/lake"
        done = run(database, "export", url, **environment | changed)
        assert_one_sentence(done, *words)
        assert "s3cr3t" not in done.stdout + done.stderr
