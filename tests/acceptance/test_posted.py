"""The scenarios from the loader to the webhook: events in, exact JSON out, one by one or at once, delivered twice."""

from pathlib import Path

import pytest

from demo.fold import Event
from demo.webhook import Receiver
from tests.acceptance.test_scenarios import A, B, C, by_loader
from tests.conftest import Database
from tests.listening import catch_up, listening, stop
from tests.loading import mostly_newest
from tests.toggling import await_confirmed, await_received

KEY = '"user":"%s","segment":{"vendor":32,"name":"trains"}'
ALICE, BOB = KEY % "alice", KEY % "bob"
ID = '{"event":"00000000-0000-4000-8000-00000000000'
TS1, TS2, TS3 = (f'","timestamp":"2021-01-{day}T12:34:56Z",' for day in (16, 17, 18))
REMOVE = ',"remove":true'

FOUR = f'{ID}4{TS2}{ALICE}{REMOVE},"previous":{ID}1{TS1}{ALICE}}}}}'
SIX = f'{ID}6{TS3}{ALICE},"previous":{ID}5{TS2}{ALICE}{REMOVE}}}}}'
SEVEN = f'{ID}7{TS3}{BOB}{REMOVE},"previous":{ID}3{TS1}{BOB}}}}}'

PLANES = '"user":"alice","segment":{"vendor":42,"name":"planes"}'
A_FOUR = f'{ID}4{TS2}{BOB}{REMOVE},"previous":{ID}1{TS1}{BOB}}}}}'
B_THREE = f'{ID}3{TS2}{PLANES}{REMOVE},"previous":{ID}1{TS1}{PLANES},"value":"associated value"}}}}'


@mostly_newest("size", {"one a batch": (1,), "all at once": (len(C),)})
def test_c_as_it_is_posted(database: Database, size: int, tmp_path: Path) -> None:
    with Receiver(keep=True) as receiver:
        catch_up(database, receiver)
        with listening(database, receiver) as listener:
            for again in range(2):
                for first in range(0, len(C), size):
                    by_loader(database, C[first : first + size], tmp_path)
                    if size == 1 and not again:
                        await_received(receiver, sum(first >= number for number in (4, 6, 7)))
            await_received(receiver, 3)
            await_confirmed(database)
            stop(listener)
    bodies = [call.body.decode() for call in receiver.calls]
    assert bodies == ([f"[{FOUR},\n{SIX},\n{SEVEN}]\n"] if size > 1 else [f"[{document}]\n" for document in (FOUR, SIX, SEVEN)])


@pytest.mark.parametrize(("scenario", "posted"), [(A, [A_FOUR]), (B, [B_THREE])], ids=["a", "b"])
def test_a_and_b_as_they_are_posted(database: Database, scenario: list[Event], posted: list[str], tmp_path: Path) -> None:
    with Receiver(keep=True) as receiver:
        catch_up(database, receiver)
        by_loader(database, scenario, tmp_path)
        by_loader(database, scenario, tmp_path)
        catch_up(database, receiver)
    assert [call.body.decode() for call in receiver.calls] == [f"[{document}]\n" for document in posted]
