"""A listener as a process: signals, its log, and the signatures on its calls."""

import base64
import json
import re
import signal

import pytest
from standardwebhooks import Webhook

from demo.webhook import Receiver
from tests.conftest import Database
from tests.listening import await_log, catch_up, expected, listen, listening, stop
from tests.loading import newest
from tests.toggling import Gate, await_received, commit, flips

SECRETS = [f"whsec_{base64.b64encode(bytes([number] * 32)).decode()}" for number in (1, 2)]


@newest
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_told_to_stop_within_a_call(database: Database, number: signal.Signals) -> None:
    """The call is waited for and counts; the next listener begins after it."""
    gate = Gate(after=1)
    with Receiver(keep=True, answer=gate) as receiver:
        with listening(database, receiver) as listener:
            await_log(listener, "listening")
            commit(database, flips(44))
            await_received(receiver, 40)
            commit(database, flips(40, first=44))
            gate.await_call()
            commit(database, flips(40, first=84))
            listener.send_signal(number)
            gate.open()
            _, log = listener.communicate(timeout=60)
            assert listener.returncode == 0, log
            assert "Traceback" not in log
        assert all(call.accepted for call in receiver.calls)
        catch_up(database, receiver)
    assert receiver.received() == expected(flips(124))


@newest
def test_told_to_stop_within_a_transaction(database: Database) -> None:
    """What was delivered of it is not sent again."""
    gate = Gate(after=2)
    with Receiver(keep=True, answer=gate) as receiver:
        with listening(database, receiver, "--max-documents", "50") as listener:
            await_log(listener, "listening")
            commit(database, flips(404))
            gate.await_call()
            listener.terminate()
            gate.open()
            assert listener.wait(60) == 0
        assert all(call.accepted for call in receiver.calls)
        assert 150 <= len(receiver.received()) < 400
        catch_up(database, receiver)
    assert receiver.received() == expected(flips(404))


@pytest.mark.parametrize(
    ("arguments", "environment", "accepted"),
    [
        (("--secret", SECRETS[0]), {}, SECRETS[:1]),
        (("--secret", SECRETS[0], "--secret", SECRETS[1]), {}, SECRETS),
        ((), {"WEBHOOK_SECRET": SECRETS[1]}, SECRETS[1:]),
        ((), {"WEBHOOK_SECRET": " ".join(SECRETS)}, SECRETS),
        ((), {}, []),
    ],
    ids=["one", "two", "environment", "two in the environment", "none"],
)
@newest
def test_signatures(database: Database, arguments: tuple[str, ...], environment: dict[str, str], accepted: list[str]) -> None:
    commit(database, flips(40))
    with Receiver(keep=True) as receiver:
        command = ("run", "--url", receiver.url, "--from", "start", "--until-caught-up", "--max-documents", "20")
        done = listen(database, *command, *arguments, **environment)
    assert done.returncode == 0, done.stderr
    assert len(receiver.calls) == 2
    assert len({call.id for call in receiver.calls}) == 2
    for call in receiver.calls:
        for secret in accepted:
            assert Webhook(secret).verify(call.body, dict(call.headers)) == call.documents()
        signatures = call.headers.get("webhook-signature", "").split()
        assert len(signatures) == len(accepted)
        assert abs(int(call.headers["webhook-timestamp"]) - call.received_at) < 60
    assert not any(secret in done.stderr for secret in SECRETS)


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
@newest
def test_the_log(database: Database, as_json: bool) -> None:
    """One line a call, and nothing in it that could be secret."""
    commit(database, flips(404))
    options = ["--from", "start", "--max-documents", "10", "--secret", SECRETS[0], *["--log-json"][:as_json]]
    with Receiver(keep=True) as receiver:
        url = receiver.url.replace("//", "//us3r:passw0rd@") + "hidden/path?k3y=hidden#hidden"
        with listening(database, receiver, *options, "--url", url) as listener:
            await_received(receiver, 400)
            commit(database, flips(4, first=404))
            await_received(receiver, 404)
            log = stop(listener)
    lines = log.splitlines()
    assert len(receiver.calls) == 41
    for call in receiver.calls:
        assert len([line for line in lines if call.id in line]) == 1
    assert len(lines) <= len(receiver.calls) + 4
    for word in ("us3r", "passw0rd", "hidden", "k3y", SECRETS[0].removeprefix("whsec_")[:8]):
        assert word not in log
    if as_json:
        found = [json.loads(line) for line in lines]
        assert all({"time", "level", "message"} <= set(line) for line in found)
        assert sum(line.get("documents", 0) for line in found) == 404
    else:
        assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARNING|ERROR) ", line) for line in lines)


@newest
def test_the_log_of_a_receiver_that_fails(database: Database) -> None:
    commit(database, flips(8))
    with Receiver(keep=True) as receiver:
        receiver.settings.status = 500
        url = receiver.url.replace("//", "//us3r:passw0rd@") + "hidden"
        with listening(database, receiver, "--from", "start", "--url", url) as listener:
            line = await_log(listener, "not delivered")
            assert "500" in line
            receiver.settings.status = 404
            line += await_log(listener, "mend it, or the URL")
            receiver.stop()
            line += await_log(listener, "connection refused")
            listener.terminate()
            line += listener.communicate(timeout=60)[1]
            assert listener.returncode == 0
    assert len({call.id for call in receiver.calls}) == 1
    assert len({call.body for call in receiver.calls}) == 1
    for word in ("us3r", "passw0rd", "hidden"):
        assert word not in line
