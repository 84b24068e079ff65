"""The receiver of `make chaos` refuses what is not signed, and what was signed at another time than its clock says."""

import time
from pathlib import Path

import pytest

from chaos.receiving import JUMP, MOST_SECONDS, TOLERANCE, TOO_LATE, Behaviour, Document, Segment, fault_of, is_refused
from demo.calls import Call
from listener.webhook import sign

SECRET = bytes(range(32))
BODY = b'[{"event":"e","timestamp":"2026-11-23T21:04:05Z","user":"u","segment":{"vendor":1,"name":"s"},"remove":true}]'


def call(secret: bytes = SECRET, at: float = 1000.0, body: bytes = BODY) -> Call:
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(at)),
        "webhook-signature": sign([secret], "msg_1", int(at), body),
    }
    return Call.of(at, "/", headers, body)


def test_signatures() -> None:
    assert fault_of(call(), SECRET, 1000.0) == ""
    assert fault_of(call(bytes(32)), SECRET, 1000.0) == "not signed by the secret"
    for ahead in (TOLERANCE + 1, -TOLERANCE - 1):
        assert fault_of(call(), SECRET, 1000.0 + ahead) == "too old or too new"


def is_refused_name(user: str) -> bool:
    return is_refused(Document("e", "", user, Segment(1, "s")))


@pytest.fixture
def behaviour(tmp_path: Path) -> Behaviour:
    return Behaviour(tmp_path, SECRET, 1)


def test_a_clock_that_jumped(behaviour: Behaviour) -> None:
    assert behaviour.answer(call(at=time.time())).status == 200
    behaviour.become("receiver's clock jumped")
    assert behaviour.answer(call(at=time.time())).status == 401
    assert not behaviour.strange
    behaviour.become("")
    assert behaviour.answer(call(at=time.time())).status == 200
    assert behaviour.answer(call(at=time.time() - JUMP)).status == 401
    assert behaviour.strange == {"too old or too new": 1}
    behaviour.close()


def test_only_what_was_accepted_is_in_the_journal(behaviour: Behaviour, tmp_path: Path) -> None:
    for mode, status in (("receiver busy (429)", 429), ("receiver redirecting", 302), ("", 503), ("", 200)):
        behaviour.become(mode)
        taken = call(at=time.time())
        behaviour.answer(taken)
        taken.status = status
        behaviour.answering(taken)
    behaviour.close()
    assert [line.split(",")[0] for line in (tmp_path / "calls.csv").read_text().splitlines()] == ["4"]
    assert len((tmp_path / "documents.csv").read_text().splitlines()) == 1


def test_whether_a_mode_has_met_a_call(behaviour: Behaviour) -> None:
    for mode in ("receiver slow", "receiver's clock jumped", "receiver busy (429)", ""):
        behaviour.become(mode)
        assert not behaviour.hit
        behaviour.answer(call(at=time.time()))
        assert behaviour.hit is bool(mode)
    behaviour.close()


def test_what_is_refused_is_in_the_journal(behaviour: Behaviour, tmp_path: Path) -> None:
    refused, taken = (next(name for name in map(str, range(100)) if is_refused_name(name) is wanted) for wanted in (True, False))
    bodies = [BODY.replace(b'"u"', f'"{name}"'.encode()) for name in (refused, taken)]
    behaviour.become("documents refused")
    answers = [behaviour.answer(call(at=time.time(), body=body)) for body in bodies]
    behaviour.close()
    assert [answer.status // 100 for answer in answers] == [4, 2]
    (line,) = (tmp_path / "refusals.csv").read_text().splitlines()
    assert line.split(",")[1:] == ["e", "2026-11-23T21:04:05Z", refused]


@pytest.mark.parametrize("body", [b"", b"[", b"[]", b"{}", BODY.replace(b'"user"', b'"usr"'), BODY.replace(b"true", b"1")])
def test_what_is_no_array_of_toggles_is_refused_and_strange(behaviour: Behaviour, body: bytes) -> None:
    assert behaviour.answer(call(at=time.time(), body=body)).status == 400
    assert behaviour.strange == {"no array of toggles": 1}
    behaviour.close()


def test_an_answer_that_the_machine_was_late_with(behaviour: Behaviour, tmp_path: Path) -> None:
    for seconds in (0.0, MOST_SECONDS + 0.1):
        taken = call(at=time.time())
        taken.received_at = time.time() - seconds
        taken.status = behaviour.answer(taken).status
        behaviour.answering(taken)
    behaviour.close()
    assert [line.split(",")[3] for line in (tmp_path / "calls.csv").read_text().splitlines()] == ["", TOO_LATE]
