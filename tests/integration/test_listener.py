"""The listener from the tables to the receiver: every toggle once, in order, as the contract has it."""

import gzip
import json
import threading
from contextlib import ExitStack

import pytest

from demo.webhook import Receiver
from tests.conftest import Database
from tests.events import arrived, ndjson
from tests.listening import CHANGES, TOGGLES, await_log, catch_up, expected, listening, stop
from tests.loading import ROLE, execute, load, mostly_newest, newest, running, sample, wait_until
from tests.toggling import Gate, await_confirmed, await_received, await_sent, by_key, commit, flips, write

STRANGE = 'a"\\/\b\f\n\r\t\x01\x1f\x7f é\u2028😀'
AS_JSON = r'"a\"\\/\b\f\n\r\t\u0001\u001f' + '\x7f é\u2028😀"'
IDS = [f"0000000A-0000-4000-8000-{number:012}" for number in range(6)]
SEGMENT = {"vendor": 2147483647, "name": "n'\\"}

LINES = [
    {"event": IDS[0], "timestamp": "0001-01-01T00:00:00Z", "user": STRANGE, "segment": SEGMENT, "value": ""},
    {"event": IDS[1], "timestamp": "0001-01-01T00:00:00.5Z", "user": STRANGE, "segment": SEGMENT, "remove": True, "extra": 1},
    {"event": IDS[2], "timestamp": "2020-02-29T05:00:00.000001+05:30", "user": STRANGE, "segment": SEGMENT, "value": STRANGE},
    {"event": IDS[3], "timestamp": "2020-03-01T00:00:00Z", "user": STRANGE, "segment": SEGMENT | {"other": 1.50}},
    {"event": IDS[4], "timestamp": "2020-03-01T00:00:00Z", "user": STRANGE, "segment": SEGMENT, "remove": True},
    {"event": IDS[5], "timestamp": "2020-03-01T00:00:00Z", "user": "plain", "segment": {"vendor": 1, "name": "s"}},
]
KEY = rf""""user":{AS_JSON},"segment":{{"vendor":2147483647,"name":"n'\\"}}"""
ID = "0000000a-0000-4000-8000-00000000000"
FIRST = rf'{{"event":"{ID}0","timestamp":"0001-01-01T00:00:00Z",{KEY},"value":""'
LEFT = rf'{{"event":"{ID}1","timestamp":"0001-01-01T00:00:00.500000Z",{KEY},"remove":true'
REJOINED = rf'{{"event":"{ID}2","timestamp":"2020-02-28T23:30:00.000001Z",{KEY},"value":{AS_JSON}'
REPEAT = rf'{{"event":"{ID}3","timestamp":"2020-03-01T00:00:00Z",{KEY}'
LEFT_AGAIN = rf'{{"event":"{ID}4","timestamp":"2020-03-01T00:00:00Z",{KEY},"remove":true'
OTHER = rf'{{"event":"{ID}5","timestamp":"2020-03-01T00:00:00Z","user":"plain","segment":{{"vendor":1,"name":"s"}}'

TOGGLES_POSTED = [
    f'{LEFT},"previous":{FIRST}}}}}',
    f'{REJOINED},"previous":{LEFT}}}}}',
    f'{LEFT_AGAIN},"previous":{REPEAT}}}}}',
]
CHANGES_POSTED = [
    f'{FIRST},"outcome":"joined"}}',
    f'{LEFT},"outcome":"left","previous":{FIRST}}}}}',
    f'{REJOINED},"outcome":"rejoined","previous":{LEFT}}}}}',
    f'{LEFT_AGAIN},"outcome":"left","previous":{REPEAT}}}}}',
    f'{OTHER},"outcome":"joined"}}',
]

COMMITS = """
select xid::text from pg_logical_slot_peek_binary_changes(
  %s, null, null, 'proto_version', '1', 'publication_names', 'segment_toggles'
) where get_byte(data, 0) = ascii('I')
"""
"""The transaction of each toggle, in the order in which the server streams them to somebody else."""

RECORDED = """
select o.event_id::text, b.xact_id::xid::text from segment_outcomes o join segment_batches b using (batch_id)
where o.outcome in ('left', 'rejoined') order by o.seq
"""


def load_lines(database: Database) -> None:
    """Load LINES."""
    assert load(database, "--lanes", "1", "-", input="".join(json.dumps(line) + "\n" for line in LINES)) == (6, 0, 0)


@pytest.mark.parametrize("recorded", ["before the slot", "after the slot"])
@pytest.mark.parametrize(
    ("publication", "posted"),
    [("segment_toggles", TOGGLES_POSTED), ("segment_changes", CHANGES_POSTED)],
    ids=["toggles", "changes"],
)
def test_documents_to_the_byte(database: Database, recorded: str, publication: str, posted: list[str]) -> None:
    with Receiver(keep=True) as receiver:
        if recorded == "before the slot":
            load_lines(database)
        catch_up(database, receiver, "--from", "start", "--publication", publication)
        if recorded == "after the slot":
            load_lines(database)
            catch_up(database, receiver, "--publication", publication)
    (call,) = receiver.calls
    assert call.body.decode() == "[" + ",\n".join(posted) + "]\n"
    assert call.headers["content-type"] == "application/json"
    assert "content-encoding" not in call.headers


@newest
def test_compressed(database: Database) -> None:
    load_lines(database)
    with Receiver(keep=True) as receiver:
        catch_up(database, receiver, "--from", "start", "--gzip")
    (call,) = receiver.calls
    assert call.headers["content-encoding"] == "gzip"
    assert gzip.decompress(call.body).decode() == "[" + ",\n".join(TOGGLES_POSTED) + "]\n"


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
        database.loader("stream", "--lanes", "1", "-", input=ndjson(sample(400, 8, seed=1)), PGUSER=ROLE)
        catch_up(database, receiver)
        assert receiver.received() == expected(arrived(database))


@mostly_newest("publication, outcomes", {"changes": ("segment_changes", CHANGES), "toggles": ("segment_toggles", TOGGLES)})
def test_several_loaders(database: Database, publication: str, outcomes: tuple[str, ...]) -> None:
    """Each key's documents in its order; among keys, transactions in the order in which they committed."""
    other = f"{database.name}_other"
    with Receiver(keep=True) as receiver:
        catch_up(database, receiver, "--publication", publication)
        execute(database, "select pg_create_logical_replication_slot(%s, 'pgoutput')", other)
        with listening(database, receiver, "--publication", publication) as listener, ExitStack() as loaders:
            lines = [ndjson(sample(600, 10, seed=seed)).encode() for seed in range(3)]
            processes = [loaders.enter_context(running(database, "--batch-size", "15", "-")) for _ in lines]
            feeders = [
                threading.Thread(target=process.communicate, args=(text,)) for process, text in zip(processes, lines, strict=True)
            ]
            for feeder in feeders:
                feeder.start()
            for feeder in feeders:
                feeder.join()
            assert [process.returncode for process in processes] == [0, 0, 0]
            wanted = expected(arrived(database), outcomes)
            await_received(receiver, len(wanted))
            stop(listener)
    received = receiver.received()
    assert len(received) == len(wanted) > 100
    assert by_key(received) == by_key(wanted)
    if publication == "segment_toggles":
        place = {xid: number for number, (xid,) in reversed(list(enumerate(database.fetch(COMMITS, other))))}
        in_order = sorted(database.fetch(RECORDED), key=lambda row: place[row[1]])
        assert [document["event"] for document in received] == [row[0] for row in in_order]


def test_where_a_new_slot_begins(database: Database) -> None:
    """By default now; and once there is a slot, --from changes nothing."""
    with Receiver(keep=True) as receiver:
        commit(database, flips(40))
        catch_up(database, receiver)
        assert receiver.calls == []
        commit(database, flips(40, first=40))
        catch_up(database, receiver, "--from", "start")
        assert receiver.received() == expected(flips(80))[36:]
        commit(database, flips(40, first=80))
        catch_up(database, receiver, "--from", "now")
        assert receiver.received() == expected(flips(120))[36:]


def test_a_slot_made_by_hand(database: Database) -> None:
    commit(database, flips(16))
    execute(database, "select pg_create_logical_replication_slot(%s, 'pgoutput')", database.name)
    commit(database, flips(40, first=16))
    with Receiver(keep=True) as receiver:
        catch_up(database, receiver, "--from", "start")
        assert receiver.received() == expected(flips(56))[12:]


@newest
@pytest.mark.parametrize("limit", [("--max-documents", "100"), ("--max-bytes", "30KiB")])
def test_calls_end_with_transactions_where_they_fit(database: Database, limit: tuple[str, str]) -> None:
    """Of 30 documents each, and one of 250."""
    with Receiver(keep=True) as receiver:
        commit(database, flips(4))
        catch_up(database, receiver)
        for first in [*range(4, 154, 30), 404, 434, 464]:
            commit(database, flips(30 if first != 154 else 250, first=first))
            if first == 124:
                commit(database, flips(250, first=154))
        catch_up(database, receiver, *limit)
    received = receiver.received()
    assert received == expected(flips(494))
    boundaries = {0, 30, 60, 90, 120, 150, 400, 430, 460, 490}
    begin = 0
    for call in receiver.calls:
        end = begin + call.count
        assert call.count <= 100 or limit[0] == "--max-bytes"
        assert len(call.body) <= 30 * 1024 or limit[0] == "--max-documents"
        assert end in boundaries or 150 <= begin < end < 400  # whole ones, or a part of the large one and nothing else
        begin = end
    assert len(receiver.calls) < len(boundaries) + 3


@newest
def test_a_document_larger_than_a_call_goes_alone(database: Database) -> None:
    commit(database, flips(12))
    with Receiver(keep=True) as receiver:
        catch_up(database, receiver, "--from", "start", "--max-bytes", "1")
    assert receiver.received() == expected(flips(12))
    assert [call.count for call in receiver.calls] == [1] * 8


@newest
def test_a_slow_receiver_gets_few_large_calls_and_a_fast_one_small_ones(database: Database) -> None:
    gate = Gate()
    with Receiver(keep=True, answer=gate) as receiver, listening(database, receiver) as listener:
        await_log(listener, "listening")
        commit(database, flips(4))
        for first in range(4, 44, 4):
            commit(database, flips(4, first=first))
            await_received(receiver, first)
        assert [call.count for call in receiver.calls] == [4] * 10
        gate.close()
        commit(database, flips(4, first=44))
        gate.await_call()
        for first in range(48, 448, 4):
            commit(database, flips(4, first=first))
        await_sent(database)
        gate.open()
        await_received(receiver, 444)
        stop(listener)
    slow = [call.count for call in receiver.calls[10:]]
    assert slow[0] == 4
    assert len(slow) <= 4
    assert receiver.received() == expected(flips(448))


@pytest.mark.parametrize("publication", ["segment_toggles", "segment_changes"])
def test_an_idle_slot_advances_with_other_tables_log(database: Database, publication: str) -> None:
    """Events that lead to no document count as others do."""
    execute(database, "create table other (text text)")
    with Receiver() as receiver, listening(database, receiver, "--publication", publication) as listener:
        await_log(listener, "listening")
        for first in (0, 4, 8):
            execute(database, "insert into other select repeat('x', 1000) from generate_series(1, 1000)")
            commit(database, flips(4, first=first))
            await_confirmed(database)
        stop(listener)


def test_until_caught_up_ends_while_others_commit(database: Database) -> None:
    commit(database, flips(400))
    over = threading.Event()

    def committing() -> None:
        first = 400
        while not over.is_set():
            commit(database, flips(40, first=first))
            first += 40

    thread = threading.Thread(target=committing)
    with Receiver(keep=True) as receiver:
        thread.start()
        try:
            catch_up(database, receiver, "--from", "start")
            committed = len(arrived(database))
            catch_up(database, receiver)
        finally:
            over.set()
            thread.join()
        received = receiver.received()
        assert len(received) >= committed - 4
        catch_up(database, receiver)
    assert receiver.received() == expected(arrived(database))


@newest
@pytest.mark.parametrize("size", [700, 1])
def test_more_than_the_buffer_holds(database: Database, size: int) -> None:
    """Reading pauses and goes on; one transaction that does not fit and many that do not."""
    gate = Gate(after=0)
    with Receiver(keep=True, answer=gate) as receiver, listening(database, receiver, "--max-buffer", "50") as listener:
        await_log(listener, "listening")
        with database.connect(ROLE, autocommit=size == 1) as connection:
            for first in range(0, 700, size):
                write(connection, flips(size, first=first))
        gate.await_call()
        gate.open()
        await_received(receiver, 696)
        await_confirmed(database)
        stop(listener)
    assert receiver.received() == expected(flips(700))
    assert max(call.count for call in receiver.calls) <= 50
