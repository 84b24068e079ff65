"""Bytes to lines, held against a plain split; blocks to rows, held against `parse` line by line."""

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from zlib import crc32

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from loader import ndjson
from loader.event import Invalid, Limits, Reject, Row, parse, reject
from loader.ndjson import KEPT, Block, Lines, decode

LIMITS = Limits(datetime(2021, 1, 17, tzinfo=UTC), datetime(2020, 12, 31, microsecond=500_000, tzinfo=UTC))
START = 1000


def line(n: int = 0, **changes: object) -> str:
    plain = {
        "event": f"a0b2c3d4-0000-4000-8000-{n:012x}",
        "timestamp": "2021-01-16T12:34:56.123456Z",
        "user": f"usr-{n}",
        "segment": {"vendor": 3, "name": "seg-1F"},
    }
    return json.dumps(plain | changes, separators=(",", ":"), ensure_ascii=False)


def split(data: bytes, chunks: list[bytes], longest: int) -> tuple[list[Block | Reject], Lines]:
    lines = Lines(longest, START)
    found = [item for chunk in chunks for item in lines.feed(chunk)] + lines.finish()
    assert lines.position == START + len(data)
    return found, lines


def expected_lines(data: bytes, longest: int) -> list[tuple[int, bytes, bool]]:
    """Return position, content and whether it is too long, of every line."""
    position, lines = START, []
    for raw in data.splitlines(keepends=True) if b"\r" not in data else data.replace(b"\r", b"\0").splitlines(True):
        whole = raw.replace(b"\0", b"\r")
        content = whole.removesuffix(b"\n").removesuffix(b"\r")
        lines.append((position, content, len(content) > longest))
        position += len(whole)
    return lines


@settings(deadline=None, max_examples=600)
@given(st.lists(st.sampled_from([b"\n", b"\r\n", b"\r", b"a", b"bcd", b"e" * 9]), max_size=30), st.data())
def test_lines(pieces: list[bytes], data: st.DataObject) -> None:
    source, longest = b"".join(pieces), data.draw(st.integers(1, 12))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(source)), max_size=8)))
    chunks = [source[a:b] for a, b in zip([0, *cuts], [*cuts, len(source)], strict=True)]
    found, _ = split(source, chunks, longest)
    got: list[tuple[int, bytes, bool]] = []
    for item in found:
        if isinstance(item, Reject):
            assert (item.code, item.length, item.sha256) == ("too_long", len(item.bytes), None)
            got.append((item.position, item.bytes, True))
        else:
            assert item.data == source[item.position - START :][: len(item.data)]
            position = item.position
            for raw in item.data.removesuffix(b"\n").split(b"\n"):
                got.append((position, raw.removesuffix(b"\r"), False))
                position += len(raw) + 1
    assert got == expected_lines(source, longest)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"", b"\r"])
@pytest.mark.parametrize("size", [1, 1000, 10**9])
def test_a_long_line_is_digested(end: bytes, size: int) -> None:
    content = random.Random(1).randbytes(KEPT + 1000).replace(b"\n", b"\r")[:-1] + b"x"
    data = b"before\n" + content + end + (b"after\n" if end.endswith(b"\n") else b"")
    found, _ = split(data, [data[i : i + size] for i in range(0, len(data), size)], 1000)
    long = next(item for item in found if isinstance(item, Reject))
    assert long[:5] == (
        START + 7,
        crc32((START + 7).to_bytes(8, "big")) & 15,
        content[:KEPT],
        len(content),
        sha256(content).digest(),
    )
    blocks = b"".join(item.data for item in found if isinstance(item, Block))
    assert blocks == b"before\n" + (b"after\n" if end.endswith(b"\n") else b"")


def test_a_line_of_the_permitted_length() -> None:
    for end in (b"\n", b"\r\n", b"\r", b""):
        assert [type(item) for item in split(b"x" * 100 + end, [b"x" * 100 + end], 100)[0]] == [Block]
        assert [type(item) for item in split(b"x" * 101 + end, [b"x" * 101 + end], 100)[0]] == [Reject]


def test_memory_is_bounded() -> None:
    lines = Lines(1000)
    for _ in range(1000):
        assert lines.feed(b"x" * 1000) == []
        assert sum(map(len, lines._parts)) <= 1001
    assert lines.position == 0
    (long,) = lines.feed(b"\n")
    assert isinstance(long, Reject)
    assert (long.length, lines.position) == (1_000_000, 1_000_001)


def test_resumes_where_it_stopped() -> None:
    data = b"one\ntwo\nthree"
    first = Lines(100)
    first.feed(data[:9])
    again = Lines(100, first.position)
    assert again.feed(data[first.position :]) == []
    assert again.finish() == [Block(8, b"three")]


def strictly(block: Block, limits: Limits) -> tuple[list[Row], list[Reject]]:
    """Return what `parse` makes of the block's lines."""
    rows, rejects, position = [], [], block.position
    for raw in block.data.removesuffix(b"\n").split(b"\n"):
        content = raw.removesuffix(b"\r")
        if content.strip(b" \t\r\n"):
            try:
                rows.append(parse(content, position, limits))
            except Invalid as invalid:
                rejects.append(reject(content, position, invalid))
        position += len(raw) + 1
    return rows, rejects


def decoded(block: Block) -> tuple[list[Row], list[Reject]]:
    """Return what `decode` makes of it, its columns as rows; days are those of the rows."""
    rows, rejects = decode(block, LIMITS)
    assert rows.days == {row.day for row in rows}
    return list(rows), rejects


def agree(data: bytes) -> tuple[list[Row], list[Reject]]:
    block = Block(START, data)
    rows, rejects = decoded(block)
    assert (rows, rejects) == strictly(block, LIMITS)
    assert all(type(row) is Row for row in rows)
    return rows, rejects


def replaced(old: str, *new: str) -> list[str]:
    return [line(5).replace(old, text) for text in new]


def added(*members: str) -> list[str]:
    return [f"{line(6)[:-1]},{member}}}" for member in members]


GOOD = [line(n) for n in range(10)]
CHANGES = [line(7, remove=True), *(line(8, value=value) for value in ("", "v", "N", "é", "\x7f", "\u2028"))]

# Lines that a fast reader is tempted to judge otherwise than `parse` does.
UNNAMED = added(
    '"x":1',
    '"x":1.50',
    '"x":"y"',
    '"x":[1,{"a":"b"}]',
    '"x":{"a":1,"b":[{"c":"d"}]}',
    '"x":{"a":1,"a":1}',
    '"x":[{"a":1,"b":2,"a":"c"}]',
    '"x":1,"x":1',
    '"x":1,"x":"2"',
    '"x":"1","x":2',
    '"":null',
    '"é":"é"',
    '"x":1e999999',
    '"x":01',
    '"x":1.',
    '"x":-',
    '"x":.5',
    '"x":+1',
    '"x":NaN',
    '"x":-Infinity',
    '"x":[1,]',
    '"x":[\t1 ,\r2]',
    '"x":\t1',
    '"x":1\r',
    '"x":tru',
    "'x':1",
    "x:1",
    '"x"',
    '"x":"\x01"',
    '"x":"a\tb"',
    '"a\x02":1',
    '"x\x00":1',
    '"x":"\\u0000"',
    '"x":"\\ud800"',
    '"x":"\\ud83d\\ude00\\n\\\\"',
    '"\\u0075ser":"x"',
    '"x":"' + "z" * 300 + '"',
    '"x":' + "7" * 5000,
    '"x":' + "[" * 255 + "]" * 255,
    '"x":' + "[" * 256 + "]" * 256,
    '"x":' + '{"a":' * 255 + "1" + "}" * 255,
    '"x":' + '{"a":' * 256 + "1" + "}" * 256,
    '"x":"' + "[" * 300 + '"',
    '"extra":{"segment":1}',
    '"segment":{"vendor":3,"name":"seg-1F"}',
    '"user":"usr-6"',
    '"remove":true,"remove":true',
    '"value":"a","value":"a"',
    '"value":"a","remove":true',
    '"value":null',
    '"value":"\\\\N"',
    '"value":"\\u0000"',
    '"value":"\\u005cN"',
    '"value":"\\"\\t"',
    '"remove":false',
    '"remove":null',
    '"remove":1',
    '"remove":"true"',
)
SEGMENTS = replaced(
    '{"vendor":3,"name":"seg-1F"}',
    *(
        f'{{"vendor":{number},"name":"n"}}'
        for number in ("0", "-0", "-1", "01", "1.0", "1e0", "2147483647", "2147483648", "9" * 30, '"1"', "true", "null")
    ),
    *(
        f'{{"vendor":1,"name":"n",{member}}}'
        for member in ('"x":1', '"x":"y"', '"x":{"a":1,"a":2}', '"x":1,"x":1', '"name":"n"', '"vendor":1', '"x":"}"')
    ),
    '{"name":"n","vendor":1}',
    '{"vendor":1}',
    '{"vendor":1,"name":"' + "n" * 32 + '"}',
    '{"vendor":1,"name":"' + "😀" * 32 + '"}',
    '{"vendor":1,"name":"' + "n" * 33 + '"}',
    '{"vendor":1,"name":""}',
    '{"vendor":1,"name":null}',
    "[]",
    '"x"',
    "null",
    '{ "vendor" :\t1\r, "name": "n" }',
    '{"vendor":1,"x":[\t],"name":"n"}',
)
USERS = replaced("usr-5", "", "u" * 256, "u" * 257, "😀" * 256, "😀" * 257, " ", "\t", "\0", "\\t", "\u2029", "\ufeff")
STAMPS = replaced(
    "2021-01-16T12:34:56.123456Z",
    *(f"2021-01-16{rest}" for rest in ("T12:34:56Z", "t12:34:56z", "T12:34:56.5Z", "T12:34:56.1234567Z", "T12:34:56")),
    *(f"2021-01-16T12:34:56{offset}" for offset in ("+00:00", "-00:00", "+02:00", "-23:59", "+24:00", "+00:00Z", "ZZ")),
    *(f"2021-01-16T{clock}Z" for clock in ("24:00:00", "23:59:60", "12:60:00", "12:34:56.", "12:34", "99:99:99")),
    *(f"{day}T12:00:00Z" for day in ("2021-02-29", "2021-01-32", "2021-13-01", "0000-01-01", "9999-12-31", "2021-W01")),
    *("2021-01-17T00:00:00Z", "2021-01-17T00:00:00.000001Z", "2021-01-16T23:59:59.9999999Z", "2021-01-16T23:59:59Z"),
    *("2020-12-31T00:00:00Z", "2020-12-30T23:59:59.999999Z", "2020-12-30T23:59:59.9999995Z", "2020-12-31T00:00:01Z"),
    *("2020-12-31T00:00:00.4Z", "2020-12-31T00:00:00.4999995Z", "2020-12-31T00:00:00.5Z", "2020-12-31T00:00:00.6Z"),
    "٢021-01-16T12:34:56Z",
    "2021-01-16 12:34:56Z",
    "",
)
IDS = replaced(
    "a0b2c3d4-0000-4000-8000-000000000005",
    "A0B2C3D4-0000-4000-8000-00000000000F",
    "a0b2c3d4-0000-4000-8000-00000000000g",
    "a0b2c3d40000-4000-8000--000000000005",
    "a0b2c3d4-0000-4000-8000-00000000000",
    "a0b2c3d4-0000-4000-8000-0000000000055",
    "a0b2c3d4-0000-4000-8000-00000000000é",
    "a0b2c3d4-0000-4000-8000-00000000000٣",
    "a0b2c3d4-0000-4000-8000-00000000000\\u0031",
)
SHAPES = [
    "",
    " ",
    "\r",
    "\t\r",
    "\f",
    "\v",
    "{}",
    "[]",
    "null",
    "{",
    line(1) + line(2),
    line(1) + "," + line(2),
    line(1) + "]",
    "[" + line(1) + "]",
    line(1) + " ",
    " " + line(1),
    line(1) + "\r",
    "\ufeff" + line(1),
    line(1)[:-1],
    line(1)[1:],
    line(1).replace(",", ",\r"),
    line(1).replace(",", " , ").replace(":3", ": 3"),
    line(1).replace(",", "\f,"),
    line(1).replace('"user":"usr-1",', ""),
    line(1).replace('"user":', '"\\u0075ser":'),
    line(1).replace('"user":', '"User":'),
    # Lines that break where a comma was, or is about to be, and pairs of them
    line(1).replace(',"user"', '\n"user"'),
    line(1).replace(',"user"', '\n,"user"'),
    line(1).replace(',"user"', ',\n"user"'),
    line(1).replace('"user":', '"user":\n'),
    line(1).replace(',"name"', '\n"name"') + line(2),
    line(1)[:-1] + ',"x":[1\n2]}',
    line(1)[:-1] + ',"x":["' + line(2).replace('"', "") + '"]}',
    line(1)[:-1] + ',"x":[' + line(2) + "\n" + line(3) + "]}",
    line(1) + "\n" + line(2) + ",",
    "," + line(1),
]
ODD = [*CHANGES, *UNNAMED, *SEGMENTS, *USERS, *STAMPS, *IDS, *SHAPES]


def broken(text: str, at: int, byte: int, how: int) -> bytes:
    """Return the line with one byte replaced, inserted or dropped."""
    data = text.encode()
    at %= len(data) or 1
    return data[:at] + (b"" if how == 2 else bytes([byte])) + data[at + (how != 1) :]


suspicious_bytes = st.sampled_from(b'"\\{}[],:\t\r \0\x7f\x80\xc3\xed\xff\x1f0aZT') | st.integers(0, 255)
mutated = st.builds(broken, st.sampled_from(GOOD + ODD), st.integers(0, 400), suspicious_bytes, st.integers(0, 2))
encoded = st.one_of(*map(st.sampled_from, (GOOD, GOOD, CHANGES, ODD))).map(str.encode)
some_lines = st.lists(encoded, min_size=1, max_size=5) | st.lists(encoded | mutated, min_size=1, max_size=25)


@settings(deadline=None, max_examples=2500)
@given(some_lines, st.sampled_from([b"\n", b"\n", b"\r\n"]), st.sampled_from([b"", b"\n", b"\r\n", b"\r"]))
@example([line(1).replace(',"user"', '\n"user"').encode(), (line(2) + line(3)).encode()], b"\n", b"\n")
@example([f'{line(1)[:-1]},"x":[1\r,2]}}'.encode(), line(2).encode()], b"\n", b"\n")
@example([f'{line(1)[:-1]},"x":"\udcff"}}'.encode("utf-8", "surrogateescape"), line(2).encode()], b"\n", b"\n")
def test_decode_agrees_with_parse(lines: list[bytes], end: bytes, last: bytes) -> None:
    rows, rejects = agree(end.join(lines) + last)
    event(f"{'some' if rows else 'no'} rows, {'some' if rejects else 'no'} rejects")


def test_every_odd_line_among_good_ones() -> None:
    """Exhaustively: an odd line, or two of a kind, among good ones, with both line ends."""
    for text in ODD:
        for end in ("\n", "\r\n"):
            for lines in ([line(1), text], [text, line(2)], [text, text], [line(1), text, line(2, remove=True)]):
                agree((end.join(lines) + end).encode())


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "make",
    [
        line,
        lambda n: line(n, value=str(n)) if n % 3 else line(n, remove=True),
        lambda n: line(n, timestamp=f"2021-01-16T12:{n % 60:02}:00+00:00"),
        lambda n: line(n, timestamp=f"2021-01-16T12:{n % 60:02}:00.123456789+02:00"),
        lambda n: line(n, source="web", score=1.5),
        lambda n: line(n, segment={"vendor": 1, "name": "é", "tags": [{"a": n}]}),
    ],
)
def test_the_usual_never_goes_line_by_line(make: Callable[[int], str], end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = (end.join(map(make, range(1000))) + end).encode()
    rows, rejects = strictly(Block(START, data), LIMITS)
    monkeypatch.setattr(ndjson, "parse", None)
    assert decoded(Block(START, data)) == (rows, rejects)
    assert len(rows) == 1000


def test_one_bad_line_sends_few_others_the_slow_way(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def watched(text: bytes, position: int, limits: Limits) -> Row:
        seen.append(text)
        return parse(text, position, limits)

    monkeypatch.setattr(ndjson, "parse", watched)
    data = "\n".join(line(n) if n != 777 else "{" for n in range(10_000)).encode()
    rows, rejects = decode(Block(START, data), LIMITS)
    assert (len(rows), [bad.bytes for bad in rejects]) == (9999, [b"{"])
    assert len(seen) <= 10


def test_positions_and_lines() -> None:
    data = f"{line(1)}\r\n\r\n  \n{line(2)}\n{{\n{line(3)}".encode()
    rows, rejects = agree(data)
    for found in rows:
        assert data[found.position - START :].startswith(found.line)
        assert found.line.endswith(b"}")
    assert [row.user for row in rows] == ["usr-1", "usr-2", "usr-3"]
    assert data[rejects[0].position - START :].startswith(b"{\n")


def test_nothing() -> None:
    assert decoded(Block(0, b"")) == ([], [])
    assert decoded(Block(0, b"\n \r\n\n")) == ([], [])
    assert Lines(10).finish() == []


def test_a_bomb_among_good_lines() -> None:
    for bomb in ("[" * 500_000, '{"x":' * 200_000, line(1)[:-1] + ',"x":' + "[" * 100_000 + "]" * 100_000 + "}"):
        rows, rejects = agree(f"{line(1)}\n{bomb}\n{line(2)}\n".encode())
        assert (len(rows), [bad.code for bad in rejects]) == (2, ["invalid_json"])


HEAD = '"event":"%s","timestamp":"2021-01-16T12:34:56Z"'
TAIL = '"segment":{"vendor":3,"name":"s"}'


@pytest.mark.parametrize(
    "halves",
    [
        (f"{{{HEAD}", f'"user":"u",{TAIL}}}'),
        (f"{{{HEAD},{TAIL}", '"user":"u"}'),
        (f'{{{HEAD},"user":"u","x":[1', f"{{}}],{TAIL}}}"),
        (f'{{{HEAD},"user":"u","x":[{{}}', f"{{}}],{TAIL}}}"),
    ],
)
def test_an_event_cut_at_a_comma_and_two_on_one_line_do_not_make_up_for_each_other(halves: tuple[str, str]) -> None:
    ids = (f"a0b2c3d4-0000-4000-8000-{number:012}" for number in range(4))
    whole = f'{{{HEAD},"user":"u",{TAIL}' + (',"x":[1]}' if "[" in halves[0] else "}")
    both = ",".join(whole % next(ids) for _ in range(2))
    cut = [half % next(ids) if "%s" in half else half for half in halves]
    for lines in ([both, *cut], [*cut, both]):
        rows, rejects = agree("".join(line + "\n" for line in lines).encode())
        assert (rows, len(rejects)) == ([], 3)
