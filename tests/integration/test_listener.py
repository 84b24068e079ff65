"""The listener from the tables to the receiver: every toggle once, in order, as the contract has it."""

from demo.webhook import Receiver
from tests.conftest import Database
from tests.events import arrived, ndjson
from tests.listening import await_log, catch_up, expected, listening, stop
from tests.loading import ROLE, sample, wait_until


def test_a_stream_arrives(database: Database) -> None:
    with Receiver(keep=True) as receiver, listening(database, receiver) as listener:
        await_log(listener, "listening")
        assert database.loader("stream", "--lanes", "1", "-", input=ndjson(sample(400, 8)), PGUSER=ROLE).returncode == 0
        wanted = expected(arrived(database))
        wait_until(lambda: len(receiver.received()) >= len(wanted))
        stop(listener)
        assert receiver.received() == wanted


def test_the_past_then_the_stream(database: Database) -> None:
    database.loader("stream", "-", input=ndjson(sample(400, 8)), PGUSER=ROLE)
    with Receiver(keep=True) as receiver:
        catch_up(database, receiver, "--from", "start")
        database.loader("stream", "-", input=ndjson(sample(400, 8, seed=1)), PGUSER=ROLE)
        catch_up(database, receiver)
        assert receiver.received() == expected(arrived(database))
