"""Posted again on somebody's wish: toggles out of the tables, and dead letters; and what a destination does not get."""

import json
from collections.abc import Callable
from http import HTTPStatus

from demo.calls import Answer, Call
from demo.webhook import Receiver
from tests.conftest import Database
from tests.listening import LISTENER, catch_up, expected, listen
from tests.loading import assert_one_sentence, execute, newest
from tests.toggling import commit, flips

LETTER = "insert into webhook_dead_letters (slot, document, webhook_id, answer) values (%s, %s, 'w', '')"


def post_again(database: Database, receiver: Receiver, *arguments: str) -> str:
    """`listener replay`, with success."""
    done = listen(database, "replay", "--url", receiver.url, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_toggles_are_posted_again_and_marked(database: Database) -> None:
    for first in range(0, 120, 40):
        commit(database, flips(40, first=first))
    with Receiver(keep=True) as receiver:
        catch_up(database, receiver, "--from", "start")
        before = database.fetch("select slot, lsn, delivered, updated_at from webhook_cursors")
        live = len(receiver.calls)
        assert "webhook-replay" not in receiver.calls[0].headers
        assert "116 toggles posted." in post_again(database, receiver)
        assert {call.headers["webhook-replay"] for call in receiver.calls[live:]} == {"true"}
        assert receiver.received() == expected(flips(120)) * 2
        assert database.fetch("select slot, lsn, delivered, updated_at from webhook_cursors") == before


@newest
def test_what_is_replayed_can_be_narrowed(database: Database) -> None:
    commit(database, flips(40))
    ((middle,),) = database.fetch("select now()::text")
    commit(database, flips(40, first=40))
    wanted = expected(flips(80))
    segment = f"{wanted[0]['segment']['vendor']}/{wanted[0]['segment']['name']}"
    at = str(middle).replace(" ", "T")
    cases = {
        ("--since", at): wanted[36:],
        ("--until", at): wanted[:36],
        ("--user", "u1"): [document for document in wanted if document["user"] == "u1"],
        ("--segment", segment): wanted,
        ("--segment", "99/none"): [],
        ("--since", at, "--user", "u2"): [document for document in wanted[36:] if document["user"] == "u2"],
    }
    for arguments, documents in cases.items():
        with Receiver(keep=True) as receiver:
            post_again(database, receiver, *arguments)
            assert receiver.received() == documents, arguments
            dry = listen(database, "replay", "--url", receiver.url, "--dry-run", *arguments)
            assert list(map(json.loads, dry.stdout.splitlines())) == documents
            assert f"{len(documents)} toggles would be posted." in dry.stderr
            assert receiver.received() == documents


def refusing(user: str) -> Callable[[Call], Answer]:
    """A receiver that refuses a user's documents for good."""

    def answer(call: Call) -> Answer:
        refused = any(document["user"] == user for document in call.documents())
        return Answer(HTTPStatus.UNPROCESSABLE_ENTITY if refused else HTTPStatus.OK)

    return answer


@newest
def test_dead_letters(database: Database) -> None:
    commit(database, flips(40))
    wanted = expected(flips(40))
    poison = [document for document in wanted if document["user"] == "u1"]
    with Receiver(keep=True, answer=refusing("u1")) as receiver:
        catch_up(database, receiver, "--from", "start")
        listed = [json.loads(line) for line in listen(database, "dead-letters", "list", "--json").stdout.splitlines()]
        assert [letter["document"] for letter in reversed(listed)] == poison
        number = str(listed[-1]["number"])
        shown = listen(database, "dead-letters", "show", number)
        assert json.loads(shown.stdout) == poison[0]
        assert "422" in shown.stderr
        assert number in listen(database, "dead-letters", "list").stdout
        again = listen(database, "dead-letters", "replay", "--url", receiver.url)
        assert again.returncode == 1
        assert "refused some documents for good" in again.stderr
        assert "Traceback" not in again.stderr
    with Receiver(keep=True) as receiver:
        assert listen(database, "dead-letters", "replay", number, "--url", receiver.url).returncode == 0
        assert receiver.received() == poison[:1]
        assert listen(database, "dead-letters", "discard", str(listed[-2]["number"])).returncode == 0
        assert listen(database, "dead-letters", "replay", "--url", receiver.url).returncode == 0
        assert receiver.received() == [poison[0], *poison[2:]]
        assert {call.headers["webhook-replay"] for call in receiver.calls} == {"true"}
    assert database.fetch("select from webhook_dead_letters") == []
    assert_one_sentence(listen(database, "dead-letters", "show", "99"), "listener dead-letters list shows them")
    assert listen(database, "dead-letters", "discard").returncode == 2


@newest
def test_dead_letters_one_by_one(database: Database) -> None:
    """Whichever is refused again stays, and no other does."""
    commit(database, flips(40))
    with Receiver(keep=True, answer=lambda _call: Answer(HTTPStatus.UNPROCESSABLE_ENTITY)) as receiver:
        document = json.dumps(expected(flips(5))[0])
        for number in range(9):
            letter = document.replace('"user": "u0"', f'"user": "p{number}"')
            execute(
                database,
                "insert into webhook_dead_letters (slot, document, webhook_id, answer) values ('s', %s, 'w', '')",
                letter,
            )
        receiver.answer = refusing("p2")
        again = listen(database, "dead-letters", "replay", "--url", receiver.url, "--max-documents", "1")
        assert again.returncode == 1
        assert "8 dead letters posted" in again.stderr
        assert [found["user"] for found in receiver.received()] == [f"p{number}" for number in range(9) if number != 2]
    assert database.fetch("select document ->> 'user' from webhook_dead_letters") == [("p2",)]


@newest
def test_dead_letters_of_several_slots_are_not_mixed(database: Database) -> None:
    for slot in ("a", "b"):
        execute(
            database, "insert into webhook_dead_letters (slot, document, webhook_id, answer) values (%s, '{}', 'w', '')", slot
        )
    with Receiver(keep=True) as receiver:
        assert_one_sentence(listen(database, "dead-letters", "replay", "--url", receiver.url), "several slots", "--slot")
        assert receiver.calls == []
        done = database.run(*LISTENER, "dead-letters", "replay", "--url", receiver.url, "--slot", "a", PGUSER="segment_listener")
        assert done.returncode == 0, done.stderr
    assert database.fetch("select slot from webhook_dead_letters") == [("b",)]


@newest
def test_a_database_of_another_server_is_not_replayed(database: Database) -> None:
    execute(database, "update segment_settings set system_identifier = 7")
    assert_one_sentence(listen(database, "replay", "--url", "http://127.0.0.1:9/", "--dry-run"), "another server")


@newest
def test_a_receiver_that_is_away_ends_a_replay(database: Database) -> None:
    commit(database, flips(8))
    done = listen(database, "replay", "--url", "http://127.0.0.1:9/")
    assert done.returncode == 1
    assert "tried several times" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
