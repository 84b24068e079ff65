"""What Prometheus gets to know of a listener, in each of its states."""

import math
import socket
import time
from contextlib import closing
from http import HTTPStatus

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from demo.calls import Answer
from demo.webhook import Receiver
from tests.conftest import Database
from tests.listening import await_log, catch_up, expected, listen, listening, stop
from tests.loading import assert_one_sentence, newest, wait_until
from tests.toggling import Gate, await_received, commit, flips

PREFIX = "pgsegments_listener_"


@pytest.fixture
def port() -> int:
    """A port that nobody else has just now."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        found: int = free.getsockname()[1]
    return found


def scrape(port: int) -> dict[str, float]:
    """Each sample but histograms' buckets, by its name without what they all begin with."""
    answer = httpx.get(f"http://127.0.0.1:{port}/metrics").raise_for_status()
    return {
        sample.name.removeprefix(PREFIX): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if "le" not in sample.labels
    }


@newest
def test_what_was_delivered_and_what_waits(database: Database, port: int) -> None:
    gate = Gate(after=1)
    with Receiver(keep=True, answer=gate) as receiver:
        with listening(database, receiver, "--metrics-port", str(port)) as listener:
            await_log(listener, "listening")
            idle = scrape(port)
            assert idle["connected"] == 1
            assert idle["lag_seconds"] == idle["oldest_undelivered_timestamp_seconds"] == idle["buffered_documents"] == 0
            commit(database, flips(44))
            await_received(receiver, 40)
            commit(database, flips(40, first=44))
            gate.await_call()
            wait_until(lambda: scrape(port)["lag_seconds"] > 0)
            waiting = scrape(port)
            assert waiting["documents_delivered_total"] == 40
            assert waiting["buffered_documents"] == 40
            oldest = "select from segment_batches group by () having extract(epoch from max(recorded_at)) <= %s"
            assert database.fetch(oldest, waiting["oldest_undelivered_timestamp_seconds"])
            assert waiting["oldest_undelivered_timestamp_seconds"] <= time.time()
            wait_until(lambda: scrape(port)["lag_bytes"] > 0)
            gate.open()
            wait_until(lambda: scrape(port)["documents_delivered_total"] == 80)
            wait_until(lambda: scrape(port)["lag_seconds"] == 0)
            found = scrape(port)
            assert found["request_documents_sum"] == 80
            assert found["request_documents_count"] == found["request_duration_seconds_count"] == 2
            assert found["retries_total"] == found["documents_set_aside_total"] == 0
            stop(listener)
        assert receiver.received() == expected(flips(84))


@newest
def test_a_receiver_that_refuses(database: Database, port: int) -> None:
    answers = iter([Answer(HTTPStatus.SERVICE_UNAVAILABLE, {"retry-after": "0"})] * 2)
    poison = Answer(HTTPStatus.UNPROCESSABLE_ENTITY)
    with (
        Receiver(keep=True, answer=lambda call: next(answers, poison if call.count == 1 else Answer())) as receiver,
        listening(database, receiver, "--metrics-port", str(port)) as listener,
    ):
        await_log(listener, "listening")
        commit(database, flips(5))
        wait_until(lambda: scrape(port)["dead_letters"] == 1)
        found = scrape(port)
        assert found["retries_total"] == 2
        assert found["documents_set_aside_total"] == 1
        assert found["documents_delivered_total"] == 0
        stop(listener)


def test_a_server_that_is_away(own_database: Database, port: int) -> None:
    """What only the server knows is unknown then."""
    with Receiver() as receiver, listening(own_database, receiver, "--metrics-port", str(port)) as listener:
        await_log(listener, "listening")
        wait_until(lambda: scrape(port)["lag_bytes"] >= 0)
        own_database.server.stop("fast")
        wait_until(lambda: scrape(port)["connected"] == 0)
        wait_until(lambda: math.isnan(scrape(port)["lag_bytes"]))
        assert math.isnan(scrape(port)["lag_seconds"])
        own_database.server.start()
        wait_until(lambda: scrape(port)["connected"] == 1)
        wait_until(lambda: scrape(port)["lag_bytes"] >= 0)
        stop(listener)


@newest
def test_names_are_as_prometheus_has_them(database: Database, port: int) -> None:
    with Receiver() as receiver, listening(database, receiver, "--metrics-port", str(port)) as listener:
        await_log(listener, "listening")
        families = list(text_string_to_metric_families(httpx.get(f"http://127.0.0.1:{port}/metrics").text))
        stop(listener)
    named = [family for family in families if not family.name.endswith("_created")]
    assert all(family.name.startswith(PREFIX) and family.documentation for family in named)
    assert all(sample.labels["slot"] == database.name for family in named for sample in family.samples)
    assert not any(family.name.endswith(("_ms", "_milliseconds", "_kib")) for family in named)


@newest
def test_a_port_that_is_taken(database: Database) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken, Receiver() as receiver:
        port = str(taken.getsockname()[1])
        done = listen(database, "run", "--url", receiver.url, "--metrics-port", port, "--until-caught-up")
        assert_one_sentence(done, "cannot be served there", "in use", "--metrics-port")
        for address in ("300.1.1.1", "a" * 300, "ü..x", ".", "8.8.8.8"):
            arguments = ("--url", receiver.url, "--metrics-port", port, "--metrics-address", address)
            assert_one_sentence(listen(database, "run", *arguments), "cannot be served there", "--metrics-address")
        catch_up(database, receiver)
