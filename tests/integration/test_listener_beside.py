"""Several webhooks, each with a listener of its own: what one's receiver does is nothing to the others."""

import json
from http import HTTPStatus
from typing import Any

import pytest

from demo.calls import Answer
from demo.webhook import Receiver
from tests.conftest import Database
from tests.listening import await_log, expected, listen, listening, stop
from tests.loading import newest, wait_until
from tests.toggling import await_received, commit, flips

ROUNDS = 30
BAD = {
    "fails": Answer(HTTPStatus.INTERNAL_SERVER_ERROR),
    "gone": Answer(HTTPStatus.GONE),
    "refuses": Answer(HTTPStatus.UNPROCESSABLE_ENTITY),
    "hangs": Answer(hang=True),
}


def status(database: Database) -> dict[str, dict[str, Any]]:
    """What `listener status` says of each slot."""
    done = listen(database, "status", "--json")
    assert done.returncode == 0, done.stderr
    return {found["slot"]: found for found in map(json.loads, done.stdout.splitlines())}


@newest
@pytest.mark.parametrize("answer", BAD.values(), ids=BAD.keys())
def test_one_that_refuses_everything_slows_no_other(database: Database, answer: Answer) -> None:
    """The good one gets everything while the bad one accepts nothing; once mended, that gets the same, in the same order."""
    bad_slot = f"{database.name}_bad"
    wanted = expected(flips(40 * ROUNDS))
    with Receiver(keep=True) as good, Receiver(keep=True, answer=lambda _call: answer) as bad, listening(database, good) as one:
        await_log(one, "listening")
        with listening(database, bad, "--slot", bad_slot) as other:
            await_log(other, "listening")
            for number in range(ROUNDS):
                commit(database, flips(40, first=40 * number))
            wait_until(lambda: bad.calls)
            await_received(good, len(wanted))
            assert bad.counters.documents == 0
            found = status(database)
            assert found[database.name]["caught_up"]
            assert not found[bad_slot]["caught_up"]
            assert found[bad_slot]["lag_bytes"] > 0
            assert found[bad_slot]["dead_letters"] == 0
            stop(one)
        assert good.received() == wanted
        bad.answer = lambda _call: Answer()
        with listening(database, bad, "--slot", bad_slot, "--until-caught-up") as other:
            assert other.wait(60) == 0
        assert bad.received() == wanted
