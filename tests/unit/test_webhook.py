"""What is posted and what answers mean, without a network: signatures, secrets, URLs, verdicts and waits."""

import base64
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from random import Random
from typing import Any

import pytest
import standardwebhooks
import standardwebhooks.webhooks
from hypothesis import given
from hypothesis import strategies as st

from listener.errors import BadSecret, BadURL, ListenerError
from listener.webhook import (
    Answer,
    Call,
    Verdict,
    Webhook,
    backoff,
    clean,
    compressed,
    judge,
    origin,
    parse_secret,
    parse_url,
    retry_after,
    sign,
    wait_for,
)

NOW = 1_784_111_777
KEY = bytes(range(32))
OTHER_KEY = bytes(range(32, 64))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
BODY = '[\n{"value": "é"}\n]'.encode()


def verify(monkeypatch: pytest.MonkeyPatch, secret: bytes, timestamp: int, signature: str, now: int = NOW) -> None:
    """Verify as a receiver does that has the reference library and this time."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.fromtimestamp(now, tz)

    monkeypatch.setattr(standardwebhooks.webhooks, "datetime", Clock)
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(timestamp), "webhook-signature": signature}
    standardwebhooks.Webhook(secret).verify(BODY, headers)


def test_the_reference_library_verifies_a_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    verify(monkeypatch, KEY, NOW, sign([KEY], "msg_1", NOW, BODY))


@pytest.mark.parametrize(
    "forged",
    [
        sign([OTHER_KEY], "msg_1", NOW, BODY),
        sign([KEY], "msg_2", NOW, BODY),
        sign([KEY], "msg_1", NOW - 1, BODY),
        sign([KEY], "msg_1", NOW, BODY + b" "),
        sign([], "msg_1", NOW, BODY) or "v1,",
    ],
)
def test_what_is_signed_otherwise_does_not_verify(monkeypatch: pytest.MonkeyPatch, forged: str) -> None:
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verify(monkeypatch, KEY, NOW, forged)


def test_while_secrets_rotate_either_verifies(monkeypatch: pytest.MonkeyPatch) -> None:
    signature = sign([KEY, OTHER_KEY], "msg_1", NOW, BODY)
    assert re.fullmatch(r"v1,[A-Za-z0-9+/]{43}= v1,[A-Za-z0-9+/]{43}=", signature)
    verify(monkeypatch, KEY, NOW, signature)
    verify(monkeypatch, OTHER_KEY, NOW, signature)


def test_after_an_outage_of_more_than_five_minutes_only_a_new_signature_verifies(monkeypatch: pytest.MonkeyPatch) -> None:
    later = NOW + 301
    with pytest.raises(standardwebhooks.WebhookVerificationError, match="too old"):
        verify(monkeypatch, KEY, NOW, sign([KEY], "msg_1", NOW, BODY), now=later)
    verify(monkeypatch, KEY, later, sign([KEY], "msg_1", later, BODY), now=later)


@pytest.mark.parametrize("size", [24, 25, 26, 32, 64])
def test_a_secret_is_read_with_and_without_its_prefix_and_padding(size: int) -> None:
    key = bytes(range(size))
    encoded = base64.b64encode(key).decode()
    assert [parse_secret(text) for text in (encoded, f"whsec_{encoded}", f"whsec_{encoded.rstrip('=')}\n")] == [key] * 3


@pytest.mark.parametrize(
    "text",
    ["", "whsec_", "whsec_" + "A" * 30, "whsec_" + "A" * 88, "whsec_" + "A" * 33, "-_" * 20, "é" * 40, "hunter2 " * 8],
)
def test_a_bad_secret_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(BadSecret) as raised:
        parse_secret(text)
    assert isinstance(raised.value, ListenerError)
    assert str(raised.value) == BadSecret.__doc__
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://localhost:9000/hook", "http://localhost:9000"),
        ("https://user:hunter2@example.com/hunter2?key=hunter2#hunter2", "https://example.com"),
        ("https://Example.com:443", "https://example.com"),
        ("http://[::1]:9000/", "http://[::1]:9000"),
        ("http://bücher.example/", "http://xn--bcher-kva.example"),
    ],
)
def test_the_origin_has_nothing_secret(url: str, shown: str) -> None:
    assert origin(url) == shown


@pytest.mark.parametrize(
    "url",
    ["", "/", "example.com", "localhost:9000", "ftp://example.com", "http://", "http:///hunter2", "http://u:hunter2@", "//h/",
     "http://h:0/", "http://h:65536/", "http://h:x/", "http://h/\n", "http://\udcff/", "http://[::1/"],
)  # fmt: skip
def test_a_bad_url_is_refused_and_not_shown(url: str) -> None:
    for use in (parse_url, origin, lambda bad: Webhook(bad, [], compress=False, timeout=1)):
        with pytest.raises(BadURL) as raised:
            use(url)
        assert str(raised.value) == BadURL.__doc__


def expected(status: int) -> Verdict:
    """The verdicts as they are promised."""
    if status in range(200, 300):
        return Verdict.DELIVERED
    if status in {408, 425, 429, *range(500, 600)}:
        return Verdict.RETRY
    if status == 413:
        return Verdict.TOO_LARGE
    return Verdict.DOCUMENT if status in {400, 422} else Verdict.ENDPOINT


def test_every_status_has_its_verdict() -> None:
    assert {status: judge(status) for status in range(100, 600)} == {status: expected(status) for status in range(100, 600)}


def test_no_status_is_a_reason_to_retry() -> None:
    assert Answer(None, "connection refused", None).verdict is Verdict.RETRY


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(503, "long page", 1.0), "503 Service Unavailable"),
        (Answer(299, "", None), "299"),
        (Answer(None, "no answer within 30 s", None), "no answer within 30 s"),
    ],
)
def test_an_answer_is_a_short_phrase(answer: Answer, said: str) -> None:
    assert f"{answer}" == said


def test_calls_have_ids_of_their_own() -> None:
    calls = [Call.of(b"[]") for _ in range(100)]
    assert len({call.id for call in calls}) == 100
    assert all(re.fullmatch("msg_[0-9a-f]{32}", call.id) for call in calls)


def test_a_body_is_compressed_to_the_same_bytes_at_any_time() -> None:
    once = compressed(BODY)
    assert once[4:8] == bytes(4), "the time in the header"
    assert compressed(BODY) == once


@pytest.fixture
def far_from_utc() -> Iterator[None]:
    """A local time that is not UTC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "JST-9")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("0", 0),
        ("7", 7),
        ("3600", 3600),
        ("3601", 3600),
        ("9" * 5000, 3600),
        ("Wed, 15 Jul 2026 10:36:27 GMT", 10),
        ("Wednesday, 15-Jul-26 10:36:27 GMT", 10),
        ("Wed Jul 15 10:36:27 2026", 10),
        ("Wed, 15 Jul 2026 10:36:07 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("", None),
        ("7, 8", None),
    ],
)
@pytest.mark.usefixtures("far_from_utc")
def test_retry_after(text: str | None, seconds: float | None) -> None:
    assert datetime.fromtimestamp(NOW, UTC).isoformat() == "2026-07-15T10:36:17+00:00"
    assert retry_after(text, NOW) == seconds


@given(st.text(max_size=60), st.floats(0, 4e9))
def test_retry_after_is_none_or_at_most_an_hour(text: str, now: float) -> None:
    found = retry_after(text, now)
    assert found is None or 0 <= found <= 3600


@given(st.none() | st.floats(0, 4000), st.integers(0, 2**32))
def test_backoff_stays_within_its_bounds(previous: float | None, seed: int) -> None:
    found = backoff(previous, Random(seed))
    assert 1 <= found <= min(300, 3 * max(previous or 1, 1))


def test_backoff_grows_to_its_bound_and_is_not_the_same_for_all() -> None:
    waits = [backoff(300, Random(seed)) for seed in range(100)]
    assert max(waits) == 300
    assert len(set(waits)) > 10


@pytest.mark.parametrize(("asked", "waits"), [(0, 1), (0.5, 1), (7, 7), (3600, 3600)])
def test_a_wait_is_what_the_answer_asks_for(asked: float, waits: float) -> None:
    assert wait_for(Answer(503, "", asked), 100, Random(1)) == waits


def test_a_wait_without_a_wish_is_backoff() -> None:
    assert wait_for(Answer(503, "", None), 100, Random(1)) == backoff(100, Random(1))


@given(st.binary(max_size=5000))
def test_text_of_an_answer_is_short_and_printable(body: bytes) -> None:
    text = clean(body)
    assert len(text) <= 1000
    assert text.isprintable()
