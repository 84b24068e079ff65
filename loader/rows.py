"""Valid events as columns: what is done to a hundred thousand of them a second is done to lists, not to objects.

Nothing here reads a clock, opens a file or knows a driver.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import compress
from typing import Any

from loader.event import Row


@dataclass(slots=True)
class Rows:
    """Rows in some order; every column is as long as the others. Text is UTF-8, which takes the least memory whatever it is."""

    positions: "array[int]" = field(default_factory=partial(array, "q"))
    buckets: bytearray = field(default_factory=bytearray)
    users: list[bytes] = field(default_factory=list)
    copies: list[bytes] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    days: set[str] = field(default_factory=set)
    """The UTC days of their timestamps, `YYYY-MM-DD`, and perhaps of others that were read with them."""

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> Row:
        position, bucket, user, copy, line = (column[index] for column in self._columns())
        return Row(position, bucket, user.decode(), copy.decode(), line)

    def __iter__(self) -> Iterator[Row]:
        return map(self.__getitem__, range(len(self)))

    def append(self, row: Row) -> None:
        """Take one more row."""
        values = row.position, row.bucket, row.user.encode(), row.copy.encode(), row.line
        for column, value in zip(self._columns(), values, strict=True):
            column.append(value)
        self.days.add(row.day)

    def extend(self, rows: "Rows") -> None:
        """Take more rows."""
        for column, values in zip(self._columns(), rows._columns(), strict=True):
            column.extend(values)
        self.days |= rows.days

    def part(self, start: int, stop: int) -> "Rows":
        """The rows from one to before another."""
        positions, buckets, users, copies, lines = (column[start:stop] for column in self._columns())
        return Rows(positions, buckets, users, copies, lines, self.days)

    def only(self, chosen: Sequence[object]) -> "Rows":
        """The rows for which there is something true in `chosen`, which has as many items as there are rows."""
        return self._made([compress(column, chosen) for column in self._columns()])

    def missing(self, positions: Mapping[int, int]) -> "Rows":
        """The rows that are not below their bucket's position."""
        if not self or min(self.positions) >= max(positions.values()):
            return self
        return self.only([position >= positions[bucket] for position, bucket in zip(self.positions, self.buckets, strict=True)])

    def order(self) -> list[int]:
        """The indexes of the rows by user; a user's rows keep their order."""
        return sorted(range(len(self)), key=self.users.__getitem__)

    def sorted(self) -> "Rows":
        """The rows by user; a user's rows keep their order."""
        order = self.order()
        return self._made([map(column.__getitem__, order) for column in self._columns()])

    def _columns(self) -> tuple[Any, ...]:
        return self.positions, self.buckets, self.users, self.copies, self.lines

    def _made(self, columns: list[Iterator[Any]]) -> "Rows":
        positions, buckets, users, copies, lines = columns
        return Rows(array("q", positions), bytearray(buckets), list(users), list(copies), list(lines), self.days)
