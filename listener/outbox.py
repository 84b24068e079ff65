"""What was received and not delivered, and what that means for the position in the server's log. Pure: no socket, no clock.

Documents go in one by one and come out in batches, in order, whole transactions together where they fit. Rows that are not
wanted go in as empty documents, for a position counts rows; they are done with when what is before them is. A position is only
ever moved by what was delivered; received again after a reconnection, rows that are here or were delivered are passed over.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, takewhile
from typing import NamedTuple

from listener.errors import SlotMoved
from listener.toggles import Place, fitting


class Position(NamedTuple):
    """Everything in the log before `lsn`, and of the transaction that commits at `commit_lsn` the first so many documents, those
    that are not wanted included."""

    lsn: int
    commit_lsn: int = 0
    documents: int = 0


@dataclass(slots=True)
class Transaction:
    """A transaction whose first row is, or was, number `first` of all that were received; complete once it has ended."""

    commit_lsn: int
    committed_at: datetime | None
    first: int
    last: int = 0
    end_lsn: int = 0


class Outbox:
    """Holds `most_documents`, wanted or not, and `most_bytes`, or little more, once whoever fills it minds `full`."""

    def __init__(self, position: Position, most_documents: int, most_bytes: int) -> None:
        self.position = position
        self.committed_at: datetime | None = None
        """When the last transaction committed of which everything was delivered, or of which there was nothing to deliver."""
        self._most_documents = most_documents
        self._most_bytes = most_bytes
        self._received = 0
        self._delivered = 0
        self._bytes = 0
        self._unwanted = 0
        self._documents: list[bytes] = []
        self._places: list[Place] = []
        self._transactions: deque[Transaction] = deque()
        self._skip = 0
        self._passing = False
        self._received_lsn = position.lsn
        if position.documents:
            self._transactions.append(Transaction(position.commit_lsn, None, -position.documents))

    def __len__(self) -> int:
        return len(self._documents) - self._unwanted

    @property
    def oldest(self) -> datetime | None:
        """When the oldest transaction committed of which something waits here; None where nothing does or it is not known."""
        return self._transactions[0].committed_at if len(self) else None

    @property
    def full(self) -> bool:
        """Whether nothing more should be added for now."""
        return len(self._documents) >= self._most_documents or self._bytes >= self._most_bytes

    @property
    def received_lsn(self) -> int:
        """Where the stream should go on: the end of the last transaction that was received whole."""
        return self._received_lsn

    # Receiving

    def begin(self, commit_lsn: int, committed_at: datetime) -> None:
        """A transaction begins, or comes again."""
        self._passing = commit_lsn < self._received_lsn
        if self._passing:
            return
        begun = self._begun()
        if begun and begun.commit_lsn != commit_lsn:
            raise SlotMoved
        if not begun:
            self._transactions.append(Transaction(commit_lsn, committed_at, self._received))
        else:
            begun.committed_at = committed_at
            self._skip = self._received - begun.first

    def add(self, document: bytes, place: Place) -> None:
        """A document of the transaction that has begun; an empty one is not wanted."""
        if self._skip or self._passing:
            self._skip -= not self._passing
            return
        self._documents.append(document)
        self._places.append(place)
        self._received += 1
        self._bytes += len(document)
        self._unwanted += not document

    def commit(self, end_lsn: int) -> None:
        """The transaction is complete."""
        begun = self._begun()
        if self._passing or begun is None:
            self._passing = False
            return
        if self._skip:
            raise SlotMoved
        if begun.first == self._received:
            empty = self._transactions.pop()
            self.idle(end_lsn)
            if not self._transactions:
                self.committed_at = empty.committed_at
            return
        begun.last, begun.end_lsn = self._received, end_lsn
        self._received_lsn = end_lsn
        self._settle()

    def idle(self, lsn: int) -> None:
        """The server has sent everything up to here; within a transaction that says nothing."""
        if self._begun() or lsn <= self._received_lsn:
            return
        self._received_lsn = lsn
        if self._transactions:
            self._transactions[-1].end_lsn = lsn
        else:
            self.position = Position(lsn)

    # Delivering

    def batch(self, most_documents: int, most_bytes: int) -> list[bytes]:
        """The next documents to deliver; none while the only transaction here is still coming in."""
        wanted = list(filter(None, self._documents)) if self._unwanted else self._documents
        fits = fitting(wanted, most_documents, most_bytes)
        rows = self._rows(fits)
        whole = max(takewhile(lambda count: count <= rows, self._whole()), default=0)
        more = fits < len(wanted) or fits == most_documents or self.full
        return list(filter(None, self._documents[:whole])) or wanted[: fits if more else 0]

    def delivered(self, count: int) -> dict[int, int]:
        """The first `count` documents are done with, and what is not wanted around them; return the batches of all these, each
        with the seq of its last one."""
        rows = self._rows(count)
        done = dict(self._places[:rows])  # of a batch the last counts
        self._bytes -= sum(map(len, self._documents[:rows]))
        del self._documents[:rows], self._places[:rows]
        self._unwanted -= rows - count
        self._delivered += rows
        self._settle()
        return {int(batch_id): int(seq) for batch_id, seq in done.items()}

    def _rows(self, count: int) -> int:
        """How many rows there are up to so many documents, and what is not wanted after them."""
        if not self._unwanted:
            return count
        wanted = (number for number, document in enumerate(self._documents) if document)
        return next(islice(wanted, count, None), len(self._documents))

    def _whole(self) -> Iterator[int]:
        """How many rows each run of whole transactions holds, from the first one on."""
        return (transaction.last - self._delivered for transaction in self._transactions if transaction.end_lsn)

    def _begun(self) -> Transaction | None:
        """The transaction whose end has not come."""
        return self._transactions[-1] if self._transactions and not self._transactions[-1].end_lsn else None

    def _settle(self) -> None:
        """Move the position over what was delivered."""
        lsn = self.position.lsn
        while self._transactions and (done := self._transactions[0]).end_lsn and done.last <= self._delivered:
            lsn, self.committed_at = done.end_lsn, done.committed_at
            self._transactions.popleft()
        self.position = Position(lsn)
        if self._transactions and (first := self._transactions[0]).first < self._delivered:
            self.position = Position(lsn, first.commit_lsn, self._delivered - first.first)
