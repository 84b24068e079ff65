"""Lines that mean harm: each is loaded with exactly its values or rejected with its bytes and its code, and nothing else happens.

What a line should become is what tests/contract.py says, which shares no code with the loader.
"""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count, cycle
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import LOADER, ROOT, Database
from tests.contract import Loaded, judge
from tests.events import check_against_fold
from tests.loading import ROLE, ends, invoke, newest, run

EVENTS = """
select event_id::text, occurred_at, user_id, vendor, segment_name, value, remove, extra::text from segment_events
"""
REJECTS = "select position, code, bytes, length from segment_rejects where source = %s"
RELATIONS = """
select array_agg(relname order by relname) from pg_class where relnamespace = 'public'::regnamespace and not relispartition
"""

STRINGS = [
    "\\N", "\\.", "\\", "\\\\", "\\t", "\\x41", "\\101", "\\u0000", "\t", "\n", "\r", "\r\n", "\n\\.\n", "\t\\N\t",
    "'", "''", '"', '\\"', "'; drop table segment_events; --", "$$", "$1", "$a$; select 1; $a$", "E'\\''", "/*", "--", ";",
    "%", "%s", "%(a)s", "%%", "{}", "{0}", "{a!r}", "${HOME}", "`id`", "$(id)", "<b>&amp;", "null", "NULL", "true", "::text",
    "0", " ", " a ", "a,b", "(a,b)", "[]", "{\"a\": 1}", "\b\f\v\x1b[31m\x7f", "\x01",
    "\ufeff", "\ufffe\uffff", "\u2028\u2029\x85", "\u202e", "\U0001f600", "e\u0301", "\u00e9",
]  # fmt: skip
"""What COPY, SQL, formats, shells and terminals give a meaning to; none is longer than a segment's name may be."""

DEEP = 100_000
LONGEST = 1 << 20


Known = dict[tuple[object, ...], Loaded]
"""Events by their identity."""


class Fate(NamedTuple):
    """A line and, if it is to be rejected, its code."""

    line: bytes
    code: str | None = None


numbers = count(1)


def fields(**changes: Any) -> dict[str, Any]:
    """An event of a few hours ago, with an id of its own."""
    when = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    named = {"event": str(uuid.UUID(int=next(numbers))), "timestamp": when.isoformat(), "user": "u"}
    return named | {"segment": {"vendor": 1, "name": "s"}} | changes


def line(**changes: Any) -> bytes:
    """It as a line."""
    return json.dumps(fields(**changes)).encode()


def raw(old: str, new: str | bytes, **changes: Any) -> bytes:
    """A line in which a piece of JSON is another one."""
    found = line(**changes)
    assert found.count(old.encode()) == 1
    return found.replace(old.encode(), new if isinstance(new, bytes) else new.encode())


def member(text: str | bytes) -> bytes:
    """A line with one more member."""
    return line()[:-1] + b", " + (text if isinstance(text, bytes) else text.encode()) + b"}"


def told() -> Iterable[Fate]:
    """Every string in every field, escaped and as it is."""
    for text in STRINGS:
        segment = {"vendor": 1, "name": text}
        everywhere = {"user": text, "segment": segment | {text: text, "x": [text]}, "value": text, text: {text: [text]}}
        for changes in (everywhere, {"user": text}, {"segment": segment}, {"value": text}, {"x": text}, {"_" + text: 1}):
            found = fields(**changes)
            yield Fate(json.dumps(found).encode())
            yield Fate(json.dumps(found | {"event": str(uuid.UUID(int=next(numbers)))}, ensure_ascii=False).encode())
        yield Fate(line(event=text), "invalid_event")
        yield Fate(line(timestamp=text), "invalid_timestamp")
        yield Fate(line(remove=text), "invalid_remove")


def spelled() -> Iterable[Fate]:
    """What is no JSON, no text, or text that cannot be stored."""
    for junk in (
        b"\xff",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xed\xb0\x80\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe2\x82",
        b"\xf8\x88\x80\x80\x80",
    ):
        yield Fate(raw('"u"', b'"' + junk + b'"'), "invalid_json")
        yield Fate(member(b'"x": "' + junk + b'"'), "invalid_json")
    for whole in (
        "\ufeff",
        "\x00",
        "\x0b",
        "\xa0",
        "\u2028",
        "{",
        "}",
        "[]",
        "[{}]",
        "null",
        "true",
        "1",
        '"',
        '""',
        "//",
        "'{}'",
        "NaN",
        "{,}",
        "{1:1}",
        "\\.",
    ):
        yield Fate(whole.encode(), "invalid_json")
    yield Fate(b"\xef\xbb\xbf" + line(), "invalid_json")
    yield Fate(line().decode().encode("utf-16"), "invalid_json")
    yield Fate(line()[:-1], "invalid_json")
    yield Fate(line() + line(), "invalid_json")
    yield Fate(line() + b",", "invalid_json")
    for control in ("\x00", "\x01", "\t", "\x1f"):
        yield Fate(raw('"u"', f'"{control}"'), "invalid_json")
        yield Fate(member(f'"{control}": 1'), "invalid_json")
    for escape in (r"\u0000", r"\ud800", r"\udfff", r"\udc00\ud800", r"a\uDBFFb", r"\\\u0000"):
        yield Fate(raw('"u"', f'"{escape}"'), "invalid_user")
        yield Fate(raw('"s"', f'"{escape}"'), "invalid_segment")
        yield Fate(member(f'"value": "{escape}"'), "invalid_value")
        yield Fate(member(f'"x": [{{"y": "{escape}"}}]'), "invalid_json")
        yield Fate(member(f'"{escape}": 1'), "invalid_json")
    for escape in (r"\\u0000", r"\ud83d\ude00", r"\uD83D\uDE00", r"\/\b\f", r"\u0001"):
        yield Fate(raw('"u"', f'"{escape}"'))
        yield Fate(member(f'"{escape}": "{escape}"'))
    for escape in (r"\x41", r"\u", r"\u12", r"\'", r"\U0001f600", "\\"):
        yield Fate(raw('"u"', f'"{escape}"'), "invalid_json")


def doubled() -> Iterable[Fate]:
    """Keys that stand twice, at any level, also when one is spelled otherwise."""
    for key in ("event", "timestamp", "user", "segment", "value", "x", ""):
        yield Fate(member(f'"{key}": "a", "{key}": "a"'), "duplicate_key")
    for text in (
        r'"us\u0065r": "v"',
        '"x": {"a": 1, "a": 1}',
        '"x": [[{"a": 1, "b": {}, "a": 1}]]',
        r'"x": 1, "\u0078": 1',
        '"segment": {}',
    ):
        yield Fate(member(text), "duplicate_key")
    yield Fate(raw('"vendor": 1', '"vendor": 1, "vendor": 1'), "duplicate_key")
    yield Fate(raw('"vendor": 1', '"x": 1, "vendor": 1, "x": 1'), "duplicate_key")


def counted() -> Iterable[Fate]:
    """Numbers at their limits and far beyond."""
    for vendor in (
        "0",
        "-1",
        "-0",
        "1.0",
        "1e0",
        "10e-1",
        "2147483648",
        "9" * 30,
        "9" * 10_000,
        '"1"',
        "true",
        "null",
        "[1]",
        "{}",
        "1E400",
    ):
        yield Fate(raw('"vendor": 1', f'"vendor": {vendor}'), "invalid_segment")
    yield Fate(raw('"vendor": 1', '"vendor": 2147483647'))
    for number in (
        "0.1",
        "-0.0",
        "1e400",
        "1e-400",
        "12345678901234567890.12345678901234567890",
        "9" * 5_000,
        "-" + "9" * 131_072,
        "1e131071",
    ):
        yield Fate(member(f'"x": {number}'))
    for number in ("1e131072", "1e999999", "-1e999999", "1e-999999", "9" * 131_073):
        yield Fate(member(f'"x": [{number}]'), "refused")
    for number in ("01", "1.", ".1", "+1", "0x1", "1_0", "NaN", "-Infinity", "--1", "1e", "\u0661"):
        yield Fate(member(f'"x": {number}'), "invalid_json")


def moments() -> Iterable[Fate]:
    """Timestamps that do not exist, or are none."""
    wrong = (
        "9999-12-31T23:59:59-00:01",
        "0000-01-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:00:60Z",
    )
    shapeless = (
        "2026-01-01 00:00:00Z",
        "2026-01-01T00:00:00",
        "20260101T000000Z",
        "infinity",
        "now",
        "epoch",
        "2026-01-01T00:00:00+0000",
    )
    for stamp in (
        *wrong,
        *shapeless,
        "2026-01-01T00:00:00.Z",
        "\u0662026-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z\n",
        "2026-01-01T00:00:00+24:00",
    ):
        yield Fate(line(timestamp=stamp), "invalid_timestamp")
    yield Fate(line(timestamp="9999-12-31T23:59:59Z"), "future")
    for stamp in (
        "0001-01-01T00:00:00Z",
        "2001-02-03t04:05:06.0000005z",
        "2001-01-01T00:00:00-23:59",
        f"2001-01-01T00:00:00.{'9' * 9_999}Z",
    ):
        yield Fate(line(timestamp=stamp))


def huge() -> Iterable[Fate]:
    """Lines as long and as deep as they may be, and longer and deeper."""
    for inner in (254, 255):
        yield Fate(member(f'"x": {"[" * inner}{"]" * inner}'))
        yield Fate(member(f'"x": {"[" * (inner + 2)}{"]" * (inner + 2)}'), "invalid_json")
    yield Fate(member('"x": "' + "[{" * DEEP + '"'))
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        yield Fate(member(f'"x": {opening * DEEP}1{closing * DEEP}'), "invalid_json")
        yield Fate((opening * DEEP).encode(), "invalid_json")
    most = LONGEST - 1000
    yield Fate(line(value="v" * most))
    yield Fate(line(value="\\" * (most // 2)))
    yield Fate(line(x="\t" * (most // 2)))
    yield Fate(line(x=[0] * (most // 3)))
    yield Fate(line(user="u" * most), "invalid_user")
    yield Fate(raw('"vendor": 1', f'"vendor": {"9" * most}'), "invalid_segment")
    yield Fate(member('"x": ' + "9" * most), "refused")
    yield Fate(b'"' + b"\\" * most, "invalid_json")
    yield Fate(b"\xff" * most, "invalid_json")
    keys = ", ".join(f'"{number}": 0' for number in range(70_000))
    yield Fate(member(keys))
    yield Fate(member(keys + ', "69999": 0'), "duplicate_key")


def check(database: Database, path: Path, known: Known, counts: tuple[int, int, int]) -> None:
    """Assert that the file's lines have become what the contract says, beside what is `known` of before, and that all count."""
    latest = datetime.now(UTC) + timedelta(days=1)
    loaded, duplicates, at = 0, 0, 0
    rejected: dict[int, tuple[set[str], bytes]] = {}
    for ended in path.read_bytes().split(b"\n"):
        came = ended.removesuffix(b"\r")
        match judge(came, latest):
            case set(codes):
                rejected[at] = codes, came
            case Loaded() as found if known.setdefault(found.identity, found) is found:
                loaded += 1
            case Loaded() as found if known[found.identity] == found:
                duplicates += 1
            case Loaded():
                rejected[at] = {"conflict"}, came
        at += len(ended) + 1
    assert counts == (loaded, duplicates, len(rejected))
    check_rejected(database, path, rejected)
    check_loaded(database, known)


def check_rejected(database: Database, path: Path, rejected: dict[int, tuple[set[str], bytes]]) -> None:
    """Assert that these are the file's rejects, whole."""
    rows = {position: row for position, *row in database.fetch(REJECTS, str(path))}
    assert rows.keys() == rejected.keys()
    for position, (codes, came) in rejected.items():
        code, kept, length = rows[position]
        assert code in codes, came[:200]
        assert (kept, length) == (came, len(came))


def check_loaded(database: Database, known: Known) -> None:
    """Assert that these are the events, with exactly their values."""
    for *row, extra in database.fetch(EVENTS):
        found = Loaded._make([*row, extra and json.loads(str(extra), parse_int=Decimal, parse_float=Decimal)])
        assert found == known[found.identity]
    assert database.fetch("select count(*) from segment_events") == [(len(known),)]


def stream(database: Database, path: Path, *options: str) -> tuple[int, int, int]:
    """Load a file within this process; return how many were loaded, duplicates, rejected."""
    found = json.loads(invoke(database, "stream", "--json", *options, str(path)))
    return found["loaded"], found["duplicates"], found["rejected"]


@ends
def test_every_line_of_the_corpus_meets_its_fate(database: Database, tmp_path: Path) -> None:
    corpus = [fate for part in (told, spelled, doubled, counted, moments, huge) for fate in part()]
    latest = datetime.now(UTC) + timedelta(days=1)
    for came, code in corpus:
        found = judge(came, latest)
        assert code in found if isinstance(found, set) else code is None, came[:200]
    relations = database.fetch(RELATIONS)
    path = tmp_path / "it's; a $$ %s {} \\ file"
    path.write_bytes(b"".join(came + end for (came, _), end in zip(corpus, cycle([b"\n", b"\r\n", b"\n \t\n"]), strict=False)))
    done = run(database, "--json", path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    counts = json.loads(done.stdout)
    check(database, path, {}, (counts["loaded"], counts["duplicates"], counts["rejected"]))
    assert database.fetch(RELATIONS) == relations
    check_against_fold(database)


VALUES = st.recursive(
    st.sampled_from([None, True, False, 0, -1, 1, 2**31, 10**40, 0.5, -0.0, "", "s", "u" * 257])
    | st.sampled_from(STRINGS)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
STAMPS = st.sampled_from(
    ["2001-01-01T00:00:00Z", "2001-01-01T01:00:00+01:00", "2001-01-01T00:00:00.000001Z", "9999-01-01T00:00:00Z"]
)
IDS = st.integers(1, 4).map(lambda number: str(uuid.UUID(int=number)))
SEGMENTS = st.fixed_dictionaries({"vendor": st.integers(1, 3), "name": st.sampled_from(["s", *STRINGS])}, optional={"x": VALUES})
DOCUMENTS = st.fixed_dictionaries(
    {"event": IDS, "timestamp": STAMPS, "user": st.sampled_from(["u", *STRINGS]), "segment": SEGMENTS},
    optional={"value": st.text(max_size=5), "x": VALUES, "remove": st.just(value=True)},
)
WRONG = st.tuples(DOCUMENTS, st.sampled_from(["event", "timestamp", "user", "segment", "value", "remove"]), VALUES).map(
    lambda drawn: drawn[0] | {drawn[1]: drawn[2]}
)


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """A line, most often nearly an event."""
    found = json.dumps(draw(DOCUMENTS | WRONG), ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")
    if draw(st.integers(0, 2)):
        return found
    at = draw(st.integers(0, len(found)))
    piece = draw(
        st.sampled_from([b"", b"\\", b'"', b"\0", b"\t", b"\r", b"{", b"}", b",", b"\xff", b"\xc3", b"1", b"e", b"\\u0000"])
    )
    return found[:at] + piece + found[at + draw(st.integers(0, 3)) :]


@newest
def test_any_line_becomes_what_the_contract_says(database: Database, tmp_path: Path) -> None:
    known: Known = {}
    files = count()

    @settings(
        max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], print_blob=True
    )
    @given(st.lists(lines(), min_size=1, max_size=30), st.sampled_from([b"\n", b"\r\n"]), st.sampled_from(["1", "7", "40000"]))
    def load_any(found: list[bytes], end: bytes, batch_size: str) -> None:
        path = tmp_path / str(next(files))
        path.write_bytes(end.join(found))
        check(database, path, known, stream(database, path, "--lanes", "1", "--batch-size", batch_size))

    load_any()
    check_against_fold(database)


PEAK = """
import os, resource, subprocess, sys
done = subprocess.run(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""
"""Runs a program and tells its peak in KiB; run from here, the program would begin with this process's."""


@newest
def test_memory_is_bounded_whatever_the_lines(database: Database, tmp_path: Path) -> None:
    """150 MB for all of it: lines of 100 MB, without an end, and as many as may be of the longest permitted."""
    path = tmp_path / "huge"
    with path.open("wb") as file:
        for filling in (b"x", b"[", b"\\", b'{"a":', b"\r"):
            file.write(filling * (100_000_000 // len(filling)) + b"\n")
        for number in range(40):
            file.write(line(value="\\" * (LONGEST // 2 - 500)) + b"\n" if number % 2 else b"\xff" * LONGEST + b"\n")
        file.write(line() + b"\n" + b"{" * 100_000_000)
    command = [sys.executable, "-c", PEAK, *LOADER, "stream", str(path)]
    done = subprocess.run(
        command, cwd=ROOT, env=database.environment | {"PGUSER": ROLE}, capture_output=True, text=True, check=True
    )
    assert "21 loaded, 0 duplicates, 26 rejected" in done.stderr
    assert int(done.stdout) * 1024 < 150_000_000
    assert database.fetch("select count(*) from segment_rejects where length > 99000000") == [(6,)]
