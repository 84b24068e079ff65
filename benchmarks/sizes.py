"""How much is measured: a whole run takes at most 45 minutes on two quiet cores, a quick one seconds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Events, rows and memberships unless said; `rounds` is how often each measurement is made."""

    rounds: int = 3
    lanes: tuple[int, ...] = (1, 2, 4)
    events: int = 2_000_000
    fewer_events: int = 500_000
    """For what is measured many times, or slowly."""
    batches: tuple[int, ...] = (100, 1_000, 10_000, 40_000, 100_000)
    partitions: tuple[int, ...] = (60, 400)
    """Days with partitions; the first is what every size of batches is measured with."""
    memberships: tuple[int, ...] = (100_000, 1_000_000, 10_000_000)
    backlog: int = 300_000
    large_backlog: int = 2_000_000
    toggles_a_second: int = 10_000
    rates: tuple[int, ...] = (1_000, 10_000, 50_000)
    delays: tuple[int, ...] = (0, 50, 500)
    """Milliseconds that the receiver takes to answer."""
    seconds: int = 15
    """For which events are sent, when it is about latency."""


QUICK = Sizes(
    rounds=1, lanes=(2,), events=5_000, fewer_events=2_000, batches=(100, 10_000), partitions=(60,), memberships=(1_000, 10_000),
    backlog=100_000, large_backlog=5_000, toggles_a_second=1_000, rates=(1_000, 2_000), delays=(0,), seconds=2,
)  # fmt: skip
