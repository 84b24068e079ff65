"""listener run --only: what a webhook gets, and that what it does not want costs it neither order nor place."""

import random
from collections.abc import Sequence

import pytest

from demo.fold import Event
from demo.webhook import Receiver
from tests.conftest import Database
from tests.events import arrived, make
from tests.listening import Document, await_log, catch_up, expected, listen, listening, stop
from tests.loading import newest, wait_until
from tests.toggling import Gate, commit, flips, lose

SEGMENTS = [(1, "a"), (1, "b/c,d"), (2, "a"), (2, 'é"\\'), (3, "a")]
WANTED = ["--only", "vendor=2", "--only", "segment=1/b/c,d"]


def mixed(count: int, seed: int, first: int = 0) -> list[Event]:
    """Events of some users in several segments, in any order."""
    chance = random.Random(seed)
    return [in_segment(event, *chance.choice(SEGMENTS), chance.random() < 0.5) for event in flips(count, first=first, users=6)]


def in_segment(event: Event, vendor: int, name: str, remove: bool) -> Event:
    """The event, of another segment."""
    return event._replace(vendor=vendor, segment_name=name, remove=remove)


def is_wanted(document: Document) -> bool:
    """What WANTED says, in other words."""
    segment = document["segment"]
    return segment["vendor"] == 2 or (segment["vendor"], segment["name"]) == (1, "b/c,d")


def wanted(database: Database) -> list[Document]:
    """What should come, in the recorded order, which is that of the commits where one follows the other."""
    return list(filter(is_wanted, expected(arrived(database))))


@pytest.mark.parametrize("from_", ["start", "now"])
def test_what_is_wanted_comes_among_the_rest(database: Database, from_: str) -> None:
    with Receiver(keep=True) as receiver:
        if from_ == "now":
            catch_up(database, receiver, *WANTED)
        for seed in range(6):
            commit(database, mixed(60, seed, 120 * seed), mixed(60, seed + 50, 120 * seed + 60))
        catch_up(database, receiver, *WANTED, "--from", from_, "--max-documents", "7")
        assert len(receiver.received()) > 50
        assert receiver.received() == wanted(database)
        assert "only segment=1/b/c,d, vendor=2" in listen(database, "status").stdout


@newest
@pytest.mark.parametrize("end", ["stopped", "killed, slot lost"])
def test_within_a_transaction(database: Database, end: str) -> None:
    """Of what was delivered only the call in flight comes again, by the stream and from the tables."""
    gate = Gate(after=5)
    with Receiver(keep=True, answer=gate) as receiver:
        catch_up(database, receiver, *WANTED)
        commit(database, mixed(400, 1), mixed(400, 2, 400))
        with listening(database, receiver, *WANTED, "--max-documents", "20") as listener:
            gate.await_call()
            if end == "stopped":
                listener.terminate()
                gate.open()
                assert listener.wait(60) == 0
        if end != "stopped":
            lose(database)
            gate.open()
        catch_up(database, receiver, *WANTED)
    received, all_of_it = receiver.received(), wanted(database)
    assert received[:100] == all_of_it[:100]
    in_flight = len(received) - len(all_of_it)
    assert in_flight in ((0,) if end == "stopped" else (0, 20))
    assert received[100 + in_flight :] == all_of_it[100:]


@newest
@pytest.mark.parametrize("other", [["--only", "vendor=1", "--only", "vendor=2", "--only", "vendor=3"], []], ids=["same", "all"])
def test_changed_within_a_transaction(database: Database, other: Sequence[str]) -> None:
    """What was delivered of it does not come again."""
    gate = Gate(after=3)
    everything = ["--only", "vendor=1", "--only", "vendor=2", "--only", "vendor=3", "--only", "vendor=4"]
    with Receiver(keep=True, answer=gate) as receiver:
        with listening(database, receiver, *everything, "--max-documents", "50") as listener:
            await_log(listener, "listening")
            commit(database, mixed(800, 3))
            gate.await_call()
            listener.terminate()
            gate.open()
            assert listener.wait(60) == 0
        assert 150 <= len(receiver.received()) < 400
        catch_up(database, receiver, *other)
    assert receiver.received() == expected(arrived(database))


@newest
def test_widened_and_then_lost(database: Database) -> None:
    """What an earlier --only passed by does not come after later toggles of its key."""

    def flip(number: int) -> list[Event]:
        return [make(number, "u", "b", seconds=number, remove=number % 2 == 1)]

    with Receiver(keep=True) as receiver:
        catch_up(database, receiver, "--only", "segment=1/a")
        for number in range(5):
            commit(database, flip(number))
        catch_up(database, receiver, "--only", "segment=1/a")
        assert receiver.calls == []
        with listening(database, receiver) as listener:
            await_log(listener, "listening")
            for number in range(5, 10):
                commit(database, flip(number))
            wait_until(lambda: receiver.counters.documents == 5)
            stop(listener)
        lose(database)
        for number in range(10, 15):
            commit(database, flip(number))
        catch_up(database, receiver)
    assert receiver.received() == expected(arrived(database))[4:]
