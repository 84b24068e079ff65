"""When a cursor gets a new base."""

from listener.base import EVERY, Renewal


def renewed(renewal: Renewal, snapshot: str, lsn: int, now: float) -> None:
    """A snapshot is asked for, and taken."""
    assert renewal.begin(now)
    renewal.taken(snapshot, lsn)


def test_once_delivery_is_past_it() -> None:
    renewal = Renewal()
    assert renewal.reached(99) is None
    renewed(renewal, "s", 10, now=0)
    assert renewal.reached(9) is None
    assert renewal.reached(10) == "s"
    assert renewal.reached(11) is None


def test_when_something_was_done_with_or_at_times() -> None:
    renewal = Renewal()
    renewed(renewal, "s", 10, now=0)
    assert renewal.reached(10) == "s"
    assert not renewal.begin(EVERY - 1)
    renewal.want()
    renewed(renewal, "t", 20, now=1)
    renewal.want()  # after the snapshot, so another is wanted
    assert not renewal.begin(2)
    assert renewal.reached(20) == "t"
    renewed(renewal, "u", 30, now=3)
    assert renewal.reached(30) == "u"
    assert not renewal.begin(4)
    assert renewal.begin(3 + EVERY)


def test_a_server_that_may_have_crashed() -> None:
    renewal = Renewal()
    renewed(renewal, "s", 10, now=0)
    renewal.forget()
    assert renewal.reached(10) is None
    renewed(renewal, "t", 20, now=1)
    assert renewal.reached(20) == "t"
    renewal.forget()
    assert not renewal.begin(2)
