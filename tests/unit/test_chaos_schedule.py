"""The schedule of `make chaos`: a function of the seed, with every kind of fault in two minutes; and what a fault explains."""

from itertools import pairwise

import pytest

from chaos.endings import unexplained
from chaos.excuses import READ, SECOND, excused
from chaos.faults import Happened, is_cut_off, misses
from chaos.program import End
from chaos.schedule import CALM, KINDS, TRACKS, plan

MINUTES = 60
SEEDS = range(200)


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_the_same_seed_gives_the_same_faults(seed: int) -> None:
    assert plan(seed, 2 * MINUTES) == plan(seed, 2 * MINUTES)
    assert plan(seed, 2 * MINUTES) != plan(seed + 1, 2 * MINUTES)


def test_a_longer_run_begins_as_a_shorter_one() -> None:
    short, long = plan(7, 2 * MINUTES), plan(7, 10 * MINUTES)
    for name, faults in short.items():
        assert long[name][: len(faults)] == faults


@pytest.mark.parametrize("seed", SEEDS)
def test_two_minutes_have_every_kind(seed: int) -> None:
    happened = {fault.kind for faults in plan(seed, 2 * MINUTES).values() for fault in faults}
    assert happened == set(KINDS)


@pytest.mark.parametrize("seed", SEEDS[:20])
def test_faults_of_a_track_do_not_meet_and_end_in_time(seed: int) -> None:
    for name, faults in plan(seed, 10 * MINUTES).items():
        least = TRACKS[name].pauses[0]
        assert all(later.at - (one.at + one.seconds) >= least - 1e-6 for one, later in pairwise(faults))
        assert all(fault.at + fault.seconds <= 10 * MINUTES - CALM for fault in faults)
        assert all(0 <= fault.chance < 1 for fault in faults)


def test_none_in_no_time() -> None:
    assert not any(plan(1, CALM).values())


def end(name: str = "loader-a", asked: str = "", code: int = 1, *, traceback: bool = False) -> End:
    return End(name, 100.0, 120.0, asked, 119.0 if asked else 0.0, code, "Error: it says why.", traceback)


def test_an_end_that_was_asked_for_is_explained() -> None:
    assert unexplained(end(asked="killed", code=-9), []) is None
    assert unexplained(end(asked="stopped", code=0), []) is None
    assert unexplained(end("loader-pipe", code=0), []) is None


def test_a_service_does_not_end_by_itself() -> None:
    for happened in ([], [Happened("PostgreSQL killed", 110.0, 119.5)]):
        assert "listener-1 ended with 0 by itself" in str(unexplained(end("listener-1", code=0), happened))


def test_an_end_that_nothing_explains() -> None:
    assert "by itself" in str(unexplained(end(), []))
    assert "told to stop" in str(unexplained(end(asked="stopped"), []))
    assert "told to stop" in str(unexplained(end(asked="stopped", code=-15), []))
    assert "a traceback" in str(unexplained(end(asked="killed", code=-9, traceback=True), []))


def test_the_server_was_away() -> None:
    assert unexplained(end(), [Happened("PostgreSQL killed", 110.0, 119.5)]) is None
    assert unexplained(end(), [Happened("PostgreSQL killed", 110.0, 115.0)])
    assert unexplained(end(), [Happened("receiver down", 110.0)])


def test_a_full_disk_is_the_exports_alone() -> None:
    full = [Happened("disk full", 110.0, 119.5)]
    assert unexplained(end("export"), full) is None
    assert unexplained(end(), full)


def test_a_fault_that_hits_nothing() -> None:
    happened = [Happened("export killed", 1, 2, hit=hit) for hit in (False, True)]
    assert misses(happened) == []
    assert misses([*happened, Happened("disk full", 1, 2, hit=False)]) == ["The fault 'disk full' was made and hit nothing."]


def test_a_listener_that_dies_together_with_the_slot() -> None:
    killed, lost = Happened("listener killed", 10, 11), Happened("slot invalidated", 12, 13)
    assert list(excused([killed])) == [("listener killed", 10, 11 + READ)]
    assert next(iter(excused([killed, lost]))) == ("listener killed", 10 - SECOND, 11 + READ)
    assert next(iter(excused([killed, Happened("slot invalidated", 20, 21)]))) == ("listener killed", 10, 11 + READ)


def test_a_build_that_fails() -> None:
    killed, full = Happened("PostgreSQL killed", 10, 11), Happened("disk full", 10, 11)
    assert is_cut_off("Database Error: connection refused", 9, [full, killed])
    assert not is_cut_off("Database Error: connection refused", 12, [killed])
    assert not is_cut_off("Database Error: connection refused", 9, [full])
    assert not is_cut_off("Database Error: connection refused; Got 3 results, configured to fail if != 0", 9, [killed])
