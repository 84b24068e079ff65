"""The synthetic stream: repeatable to the byte, valid, and of the promised shape."""

import json
import math
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from itertools import islice
from typing import Any
from uuid import UUID

import pytest

from loader.event import Limits, parse
from loader.generate import CHUNK, elapsed, generate

START = datetime(2021, 1, 16, 12, 34, 56, 789, tzinfo=UTC)
MANY = 60_000


def stream(**options: Any) -> list[bytes]:
    defaults: dict[str, Any] = {"count": 2500, "start": START, "rate": None, "seed": 1}
    return [line for _, lines in generate(**defaults | options) for line in lines]


@pytest.fixture(scope="module")
def many() -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream(count=MANY)]


def change(event: dict[str, Any]) -> tuple[str, str, bool]:
    return event["user"], event["segment"]["name"], "remove" in event


def test_the_same_bytes_everywhere() -> None:
    assert stream() == stream()
    assert stream() != stream(seed=2)
    assert sha256(b"".join(stream())).hexdigest() == "9192a0e6fd45f37e7799f489adc5e2b1ce1e54adfc8636a934dcc568e730151e"


def test_a_shorter_stream_is_the_beginning_of_a_longer_one() -> None:
    endless = (line for _, lines in generate(count=None, start=START, rate=None, seed=1) for line in lines)
    assert list(islice(endless, 2500)) == stream()
    assert stream(count=1234) == stream()[:1234]


@pytest.mark.parametrize("count", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2500])
def test_count_and_chunks(count: int) -> None:
    chunks = list(generate(count=count, start=START, rate=None, seed=1))
    assert [first for first, _ in chunks] == list(range(0, count, CHUNK))
    assert sum(len(lines) for _, lines in chunks) == count
    assert all(len(lines) == CHUNK for _, lines in chunks[:-1])


def test_every_line_is_a_valid_event() -> None:
    limits = Limits(START + timedelta(days=1), START)
    for line in stream(count=20_000):
        assert line.endswith(b"}\n")
        row = parse(line[:-1], 0, limits)
        assert row.copy.endswith("\\N\n")


def test_fields_in_the_contracts_order(many: list[dict[str, Any]]) -> None:
    shapes = {tuple(event) for event in many}
    assert shapes == {("event", "timestamp", "user", "segment"), ("event", "timestamp", "user", "segment", "remove")}
    assert {tuple(event["segment"]) for event in many} == {("vendor", "name")}


def test_ids(many: list[dict[str, Any]]) -> None:
    ids = [UUID(event["event"]) for event in many]
    assert {event.version for event in ids} == {4}
    assert {event.variant for event in ids} == {"specified in RFC 4122"}
    assert len(set(ids)) == MANY
    assert all(str(UUID(event["event"])) == event["event"] for event in many)


@pytest.mark.parametrize("rate", [None, 0.1, 3, 33333.3, 1e6, 1e7])
def test_timestamps_do_not_drift(rate: float | None) -> None:
    seconds = 0.001 if rate is None else 1 / rate
    for index, line in enumerate(stream(rate=rate)):
        moment = datetime.fromisoformat(json.loads(line)["timestamp"])
        assert moment == START + timedelta(microseconds=elapsed(index, rate))
        assert abs((moment - START).total_seconds() - index * seconds) <= 0.000001


def test_elapsed_is_exact() -> None:
    assert elapsed(10**12, 3) == 333_333_333_333_333_333
    assert elapsed(2, 3) == 666_667
    assert elapsed(10**9, 0.1) == 10**16
    assert elapsed(7, None) == 7000


def test_start_is_a_moment() -> None:
    assert stream(start=START.astimezone(timezone(timedelta(hours=-7)))) == stream()


def test_names(many: list[dict[str, Any]]) -> None:
    for event in many:
        k = int(event["segment"]["name"].removeprefix("seg-"), 16)
        assert event["segment"] == {"vendor": 1 + k % 10, "name": f"seg-{k:X}"}
        assert 0 <= k < 500
        user = int(event["user"].removeprefix("usr-"), 16)
        assert event["user"] == f"usr-{user:06x}"
        assert 0 <= user < 10_000


def test_segments_follow_zipf(many: list[dict[str, Any]]) -> None:
    counts = Counter(int(event["segment"]["name"][4:], 16) for event in many)
    weights = [(1 + k) ** -1.1 for k in range(500)]
    for k in (0, 1, 2, 9):
        assert counts[k] / MANY == pytest.approx(weights[k] / sum(weights), rel=0.1)
    tail = sum(counts[k] for k in range(250, 500)) / MANY
    assert tail == pytest.approx(sum(weights[250:]) / sum(weights), rel=0.1)


def test_users_are_half_normal(many: list[dict[str, Any]]) -> None:
    users = [int(event["user"][4:], 16) for event in many]
    for deviations in (0.5, 1, 2):
        within = sum(user < deviations * 1000 for user in users) / MANY
        assert within == pytest.approx(math.erf(deviations / math.sqrt(2)), abs=0.015)


def test_few_users_and_segments() -> None:
    events = [json.loads(line) for line in stream(users=3, segments=1, adds=0)]
    assert {event["user"] for event in events} <= {"usr-000000", "usr-000001", "usr-000002"}
    assert {event["segment"]["name"] for event in events} == {"seg-0"}
    assert all(event["remove"] is True for event in events)


@pytest.mark.parametrize("adds", [0, 0.2, 0.7, 1])
def test_share_of_adds(adds: float) -> None:
    lines = stream(count=20_000, adds=adds)
    assert sum(b"remove" not in line for line in lines) / 20_000 == pytest.approx(adds, abs=0.02)


def test_two_in_five_restate_an_earlier_event() -> None:
    """With so many users that hardly anything comes twice by chance."""
    events = [json.loads(line) for line in stream(count=MANY, users=1 << 24)]
    seen: set[tuple[str, str, bool]] = set()
    fresh = []
    for event in events:
        fresh.append(change(event) not in seen)
        seen.add(change(event))
    assert fresh[0]
    assert sum(fresh) / MANY == pytest.approx(0.6, abs=0.01)
    assert sum(fresh[-10_000:]) / 10_000 == pytest.approx(0.6, abs=0.02)
