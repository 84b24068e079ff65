"""A soak's verdict on series that were made up: what stays flat is flat, and what grows is found, whatever the noise."""

import math
from random import Random

import pytest

from benchmarks.flatness import MEASURES, Level, Measure, level

SAMPLES = 120
MEMORY = Measure("loader", "MB", 0.05, 4, "memory")
"""Of 100 MB it may rise by 9."""


def judged(*values: float | None, measure: Measure = MEMORY) -> Level:
    return level(measure, values)


def noisy(each: float, by: float) -> list[float]:
    random = Random(1)
    return [each + random.uniform(-by, by) for _ in range(SAMPLES)]


def test_noise_around_a_level_is_flat() -> None:
    found = judged(*noisy(100, 30))
    assert found.flat
    assert found.before == pytest.approx(100, abs=10)


def test_what_fills_up_in_the_warm_up_and_then_stays_is_flat() -> None:
    assert judged(*[min(100, 5 * at) for at in range(SAMPLES)]).flat


def test_what_shrinks_is_flat() -> None:
    assert judged(*[100 - 0.5 * at for at in range(SAMPLES)]).flat


@pytest.mark.parametrize(("whole", "flat"), [(20, True), (35, False)])
def test_a_leak_is_found_by_half_of_what_it_takes_after_the_warm_up(whole: float, flat: bool) -> None:
    leaking = [each + whole * at / SAMPLES for at, each in enumerate(noisy(100, 2))]
    assert judged(*leaking).after - judged(*leaking).before == pytest.approx(whole / 3, abs=1)
    assert judged(*leaking).flat == flat


@pytest.mark.parametrize(("height", "flat"), [(8, True), (10, False)])
def test_a_step_that_stays_is_found_by_its_height(height: float, flat: bool) -> None:
    assert judged(*[100.0] * 70, *[100.0 + height] * 50).flat == flat


@pytest.mark.parametrize("peak", [10, 115])
def test_a_peak_that_passes_is_flat_wherever_it_is(peak: int) -> None:
    assert judged(*[1000.0 if at == peak else 100.0 for at in range(SAMPLES)]).flat


def test_a_sawtooth_is_flat() -> None:
    assert judged(*[100 + 50 * (at % 13) / 13 for at in range(SAMPLES)]).flat


def test_a_sawtooth_whose_teeth_grow_is_not() -> None:
    assert not judged(*[100 + 50 * (at % 13) / 13 + at for at in range(SAMPLES)]).flat


def test_a_sawtooth_that_stops_falling_is_not() -> None:
    assert not judged(*[100 + 50 * (min(at % 13, at) if at < 80 else at - 80) / 13 for at in range(SAMPLES)]).flat


@pytest.mark.parametrize(("measured", "flat"), [([], False), ([100.0] * 4, False), ([100.0] * 5, True)])
def test_gaps_are_left_out_and_what_was_hardly_measured_is_not_flat(measured: list[float], flat: bool) -> None:
    found = judged(*[100.0] * 80, *[None] * (40 - len(measured)), *measured)
    assert found.flat == flat
    assert ("too little was measured" in found.sentence()) == math.isnan(found.after) == (not flat)


def test_what_is_not_flat_is_a_sentence_with_its_figures() -> None:
    assert judged(*[100.0] * 80, *[120.0] * 40).sentence() == (
        "Not flat: loader, with 100.00 MB after the warm-up and 120.00 in the last third, 20.00 more where 9.00 are allowed."
    )


def test_measures_have_names_of_their_own() -> None:
    assert len({measure.name for measure in MEASURES}) == len(MEASURES)
