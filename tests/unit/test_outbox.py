"""The outbox against a server and a receiver that do as they like: every document once, in order, whatever comes again."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from listener.errors import SlotMoved
from listener.outbox import Outbox, Position
from listener.toggles import Place, body

START = 1000
ORIGIN = Position(START)
NOON = datetime(2021, 1, 16, 12, tzinfo=UTC)


class Committed(NamedTuple):
    """A transaction in the server's log; its rows are those from number `first` up to `last`."""

    commit_lsn: int
    end_lsn: int
    first: int
    last: int

    @property
    def at(self) -> datetime:
        return NOON + timedelta(seconds=self.commit_lsn)


class Listening(RuleBasedStateMachine):
    """A server that commits, a connection that is lost, a process that dies, a receiver that accepts; all in any order."""

    @initialize(most_documents=st.integers(1, 12), most_bytes=st.integers(1, 150))
    def begin(self, most_documents: int, most_bytes: int) -> None:
        self.buffer = most_documents, most_bytes
        self.log: list[Committed] = []
        self.documents: list[bytes] = []
        self.end = START
        self.delivered: list[bytes] = []
        self.acknowledged = START
        self.position = ORIGIN
        self.start_process(ORIGIN)
        self.connect(START)

    # The server

    @rule(sizes=st.lists(st.one_of(st.just(0), st.integers(1, 40)), max_size=8), gap=st.integers(0, 2))
    def commit(self, sizes: list[int], gap: int) -> None:
        """Commit so many rows, or none; what follows the log's end at once has it as its own position. Some are not wanted."""
        first = len(self.documents)
        self.documents += [(b"%d" % (first + n) + b"." * size) * (size > 0) for n, size in enumerate(sizes)]
        self.log.append(Committed(self.end + gap, self.end + gap + 2, first, len(self.documents)))
        self.end = self.log[-1].end_lsn

    @rule(gap=st.integers(1, 5))
    def write_elsewhere(self, gap: int) -> None:
        self.end += gap

    def connect(self, lsn: int) -> None:
        """Stream what commits at this position or later."""
        self.upcoming = sum(transaction.commit_lsn < lsn for transaction in self.log)
        self.sent = lsn
        self.document: int | None = None

    @rule(data=st.data())
    def lose_the_connection(self, data: st.DataObject) -> None:
        self.connect(self.any_start(data, self.outbox.received_lsn))

    @rule(data=st.data())
    def lose_the_process(self, data: st.DataObject) -> None:
        self.start_process(self.outbox.position)
        self.connect(self.any_start(data, self.outbox.received_lsn))

    def any_start(self, data: st.DataObject, asked: int) -> int:
        """Where it was asked for, or the end of an earlier transaction: nothing before what was acknowledged."""
        earlier = [one.end_lsn for one in self.log if self.acknowledged <= one.end_lsn < asked]
        return data.draw(st.sampled_from([asked, *earlier, self.acknowledged]))

    def place(self, document: int) -> Place:
        """Three documents make a batch."""
        return str(document // 3), str(document)

    # The listener

    def start_process(self, position: Position) -> None:
        self.outbox = Outbox(position, *self.buffer)
        self.received = self.whole = len(self.delivered)
        self.in_flight: list[bytes] = []

    @rule(count=st.integers(1, 20), minding=st.booleans())
    def receive(self, count: int, minding: bool) -> None:
        """Take so many messages, fewer if the outbox is full and that is minded."""
        for _ in range(count):
            if self.upcoming < len(self.log) and not (minding and self.outbox.full):
                self.take(self.log[self.upcoming])

    def take(self, transaction: Committed) -> None:
        if self.document is None:
            self.outbox.begin(transaction.commit_lsn, transaction.at)
            self.document = transaction.first
        elif self.document < transaction.last:
            self.outbox.add(self.documents[self.document], self.place(self.document))
            self.document += 1
            self.received = max(self.received, self.document)
        else:
            self.outbox.commit(transaction.end_lsn)
            self.whole = max(self.whole, transaction.last)
            self.document, self.sent = None, transaction.end_lsn
            self.upcoming += 1

    @rule(data=st.data())
    def hear_that_it_is_alive(self, data: st.DataObject) -> None:
        """A keepalive, before the next transaction or within it, has a position from before its commit."""
        latest = self.log[self.upcoming].commit_lsn if self.upcoming < len(self.log) else self.end
        before, received = self.outbox.position, self.outbox.received_lsn
        lsn = data.draw(st.integers(min(self.sent, latest), latest))
        self.outbox.idle(lsn)
        if self.document is None:
            self.sent = max(self.sent, lsn)
        else:
            assert (self.outbox.position, self.outbox.received_lsn) == (before, received)

    @precondition(lambda self: not self.in_flight)
    @rule(most_documents=st.integers(1, 12), most_bytes=st.integers(1, 200))
    def call(self, most_documents: int, most_bytes: int) -> None:
        self.in_flight = self.outbox.batch(min(most_documents, self.buffer[0]), most_bytes)
        self.check(self.in_flight, min(most_documents, self.buffer[0]), most_bytes)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), acknowledge=st.booleans())
    def accept(self, data: st.DataObject, acknowledge: bool) -> None:
        """Some of the documents in flight, or all."""
        count = data.draw(st.integers(0, len(self.in_flight)))
        del self.in_flight[:count]
        self.done_with(count)
        if acknowledge:
            self.acknowledged = self.outbox.position.lsn

    def done_with(self, count: int) -> None:
        """So many documents, and the rows around them that nobody wants."""
        begun = len(self.delivered)
        while len(self.delivered) < self.received and (count or not self.documents[len(self.delivered)]):
            self.delivered.append(self.documents[len(self.delivered)])
            count -= bool(self.delivered[-1])
        places = map(self.place, range(begun, len(self.delivered)))
        expected = {int(batch): int(seq) for batch, seq in places}
        assert self.outbox.delivered(self.wanted(begun, len(self.delivered))) == expected

    def wanted(self, first: int, last: int) -> int:
        """How many of these rows are wanted."""
        return sum(map(bool, self.documents[first:last]))

    # What must hold

    def check(self, batch: list[bytes], most_documents: int, most_bytes: int) -> None:
        """A batch has as many whole transactions as fit, or else of the first as much as fits, unless its rest may still come."""
        done = len(self.delivered)
        waiting = list(filter(None, self.documents[done : self.received]))
        assert batch == waiting[: len(batch)]

        def fits(count: int) -> bool:
            return count <= most_documents and (count == 1 or len(body(waiting[:count])) <= most_bytes)

        ends = [end for one in self.log if done < one.last <= self.whole and (end := self.wanted(done, one.last))]
        if not batch:
            assert not ends, "a whole transaction was here"
            more_may_come = not self.outbox.full and len(waiting) < most_documents and fits(len(waiting))
            assert not waiting or more_may_come
            return
        assert fits(len(batch))
        if len(batch) in ends:
            assert not any(fits(end) for end in ends if end > len(batch)), "one more transaction would have fit"
        else:
            assert not any(fits(end) for end in ends), "a transaction was torn that would have fit"
            at_its_most = len(batch) == most_documents or (len(batch) < len(waiting) and not fits(len(batch) + 1))
            assert at_its_most or (self.outbox.full and len(batch) == len(waiting))

    @invariant()
    def every_document_comes_once_and_in_order(self) -> None:
        assert self.delivered == self.documents[: len(self.delivered)]
        assert len(self.outbox) == self.wanted(len(self.delivered), self.received)

    @invariant()
    def the_position_is_that_of_what_was_delivered(self) -> None:
        lsn, commit_lsn, documents = self.outbox.position
        done = len(self.delivered)
        assert lsn >= self.position.lsn
        assert self.outbox.received_lsn >= lsn
        self.position = self.outbox.position
        for transaction in self.log:
            if transaction.end_lsn <= lsn:
                assert transaction.last <= done, "beyond what was delivered"
            else:
                assert transaction.commit_lsn >= lsn, "within a transaction"
                delivered = max(0, min(done, transaction.last) - transaction.first)
                assert delivered == (documents if transaction.commit_lsn == commit_lsn else 0)
        assert (commit_lsn == 0) == (documents == 0)

    @invariant()
    def what_was_received_is_told(self) -> None:
        before = [one.last for one in self.log if one.commit_lsn < self.outbox.received_lsn]
        assert not before or before[-1] <= self.whole

    @invariant()
    def it_keeps_no_more_than_it_needs(self) -> None:
        rows = self.received - len(self.delivered)
        assert len(self.outbox._transactions) <= rows + 1
        assert self.outbox._bytes == sum(map(len, self.documents[len(self.delivered) : self.received]))
        assert self.outbox.full == (rows >= self.buffer[0] or self.outbox._bytes >= self.buffer[1])

    @invariant()
    def the_time_of_the_last_commit(self) -> None:
        over = [one for one in self.log if one.end_lsn <= self.outbox.position.lsn]
        filled = max((number for number, one in enumerate(over) if one.first < one.last), default=0)
        assert self.outbox.committed_at in (None, *(one.at for one in over[filled:]))
        assert len(self.outbox) == 0 or self.outbox.oldest is None or self.outbox.oldest in {one.at for one in self.log}

    def teardown(self) -> None:
        """Everything arrives in the end."""
        for _ in range(3 * len(self.documents) + 3 * len(self.log) + 1):
            self.receive(5, minding=True)
            self.done_with(0)
            self.done_with(len(self.outbox.batch(self.buffer[0], 60)))
            self.the_position_is_that_of_what_was_delivered()
        self.every_document_comes_once_and_in_order()
        assert self.delivered == self.documents
        self.outbox.idle(self.end)
        assert self.outbox.position == Position(self.end)
        assert (len(self.outbox), len(self.outbox._transactions)) == (0, 0)


TestListening = Listening.TestCase
TestListening.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)


# What the words of outbox.py mean, one by one


def filled(*sizes: int, whole: bool = True, position: Position = ORIGIN, most: int = 100) -> Outbox:
    """An outbox with a transaction of so many documents each, at 2000, 2100, …; the last one's end has come, or has not."""
    outbox = Outbox(position, most, 10_000)
    for number, size in enumerate(sizes):
        receive(outbox, 2000 + 100 * number, size, whole or number + 1 < len(sizes))
    return outbox


def receive(outbox: Outbox, commit_lsn: int, size: int, whole: bool = True) -> None:
    outbox.begin(commit_lsn, NOON)
    for number in range(size):
        outbox.add(b"%d/%d" % (commit_lsn, number), (str(commit_lsn), str(number)))
    if whole:
        outbox.commit(commit_lsn + 50)


@pytest.mark.parametrize(
    ("sizes", "whole", "most", "count"),
    [
        ((), True, 10, 0),
        ((3, 3, 3), True, 10, 9),
        ((3, 3, 3), True, 9, 9),
        ((3, 3, 3), True, 8, 6),  # the third does not fit
        ((3, 3, 3), True, 2, 2),  # not even the first does
        ((3, 3, 3), False, 10, 6),  # the third is still coming in
        ((3,), False, 10, 0),  # perhaps its end is about to come
        ((3,), False, 3, 3),  # which would change nothing
        ((0, 0, 1), True, 10, 1),
    ],
)
def test_batches(sizes: tuple[int, ...], whole: bool, most: int, count: int) -> None:
    assert len(filled(*sizes, whole=whole).batch(most, 10_000)) == count


def test_a_full_outbox_waits_for_nothing() -> None:
    assert len(filled(4, whole=False, most=5).batch(100, 10_000)) == 0
    assert len(filled(5, whole=False, most=5).batch(100, 10_000)) == 5


def test_a_document_larger_than_a_body_goes_alone() -> None:
    assert filled(2).batch(10, 1) == [b"2000/0"]


def test_positions() -> None:
    outbox = filled(2, 2)
    seen = [outbox.position]
    for _ in range(4):
        outbox.delivered(1)
        seen.append(outbox.position)
    within = [Position(1000, 2000, 1), Position(2050), Position(2050, 2100, 1), Position(2150)]
    assert seen == [Position(1000), *within]
    assert (outbox.received_lsn, outbox.committed_at) == (2150, NOON)


def test_a_part_of_a_transaction_that_is_coming_in() -> None:
    outbox = filled(2, whole=False)
    outbox.delivered(2)
    assert (outbox.position, outbox.received_lsn, outbox.committed_at) == (Position(1000, 2000, 2), 1000, None)
    outbox.commit(2050)
    assert (outbox.position, outbox.received_lsn, outbox.committed_at) == (Position(2050), 2050, NOON)


def test_an_idle_log_need_not_be_kept() -> None:
    outbox = filled()
    outbox.idle(1500)
    assert (outbox.position, outbox.received_lsn) == (Position(1500), 1500)
    receive(outbox, 2000, 1)
    outbox.idle(2080)
    assert (outbox.position, outbox.received_lsn) == (Position(1500), 2080)
    outbox.delivered(1)
    assert outbox.position == Position(2080)
    outbox.idle(2070)
    assert (outbox.position, outbox.received_lsn) == (Position(2080), 2080)


def test_where_what_was_delivered_was_recorded() -> None:
    outbox = filled(2, 3)
    assert outbox.delivered(1) == {2000: 0}
    assert outbox.delivered(3) == {2000: 1, 2100: 1}
    assert outbox.delivered(1) == {2100: 2}


def test_what_is_not_wanted_is_done_with_when_what_is_before_it_is() -> None:
    outbox = Outbox(ORIGIN, 100, 10_000)
    outbox.begin(2000, NOON)
    for number, document in enumerate([b"", b"a", b"", b"", b"b"]):
        outbox.add(document, ("7", str(number)))
    assert len(outbox) == 2
    assert outbox.delivered(0) == {7: 0}
    assert outbox.position == Position(1000, 2000, 1)
    outbox.commit(2050)
    assert outbox.batch(10, 1000) == [b"a", b"b"]
    assert outbox.delivered(1) == {7: 3}
    assert outbox.position == Position(1000, 2000, 4)
    assert outbox.delivered(1) == {7: 4}
    assert (outbox.position, len(outbox)) == (Position(2050), 0)


def test_a_batch_begins_with_what_is_wanted() -> None:
    """Even where a whole transaction is before it of which nothing is, and the next one fills all the room."""
    outbox = Outbox(ORIGIN, 3, 10_000)
    outbox.begin(2000, NOON)
    outbox.add(b"", ("1", "1"))
    outbox.commit(2050)
    outbox.begin(2100, NOON)
    for number in range(3):
        outbox.add(b"x", ("2", str(number)))
    assert outbox.full
    assert outbox.batch(10, 1000) == [b"x"] * 3


def test_the_oldest_that_waits() -> None:
    outbox = filled()
    assert outbox.oldest is None
    receive(outbox, 2000, 1)
    assert outbox.oldest == NOON
    outbox.delivered(1)
    assert outbox.oldest is None


def test_an_empty_transaction_is_over_when_nothing_waits() -> None:
    assert filled(0).committed_at == NOON
    assert filled(1, 0).committed_at is None


def test_transactions_without_documents_leave_no_trace() -> None:
    outbox = filled(1, *[0] * 1000)
    assert len(outbox._transactions) == 1
    outbox.delivered(1)
    assert outbox.position == Position(2050 + 100 * 1000)


def test_a_transaction_that_begins_where_the_last_one_ended_is_another() -> None:
    outbox = filled(1)
    receive(outbox, 2050, 1)
    assert len(outbox) == 2


def test_what_comes_again_is_passed_over() -> None:
    outbox = filled(2, 3, whole=False)
    outbox.delivered(3)
    receive(outbox, 2000, 2)
    assert (len(outbox), outbox.position) == (2, Position(2050, 2100, 1))
    receive(outbox, 2100, 4)
    assert outbox.batch(10, 1000) == [b"2100/1", b"2100/2", b"2100/3"]


def test_a_process_goes_on_within_a_transaction() -> None:
    outbox = filled(3, position=Position(1000, 2000, 2))
    assert outbox.batch(10, 1000) == [b"2000/2"]
    outbox.delivered(1)
    assert outbox.position == Position(2050)


@pytest.mark.parametrize(("commit_lsn", "size"), [(2001, 3), (2000, 1), (1500, 3)])
def test_a_slot_that_somebody_moved(commit_lsn: int, size: int) -> None:
    outbox = filled(position=Position(1000, 2000, 2))
    with pytest.raises(SlotMoved):
        receive(outbox, commit_lsn, size)
    assert outbox.position == Position(1000, 2000, 2)
