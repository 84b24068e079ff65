"""Decompression a piece at a time: what is whole comes out as it went in, and nothing false is taken for sound."""

import gzip
import random
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loader.compressed import GZIP, MOST_WINDOW, PIECE, ZST, Compression, Cut, TooWide, Unsound, measure, pieces, recognise

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHECKED: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}
SKIPPED = b"\x53\x2a\x4d\x18" + (7).to_bytes(4, "little") + b"skip me"

TEXT = b"".join(b'{"n": %d, "r": "%x"}\n' % (number, random.Random(number).getrandbits(90)) for number in range(3_000))

Pack = Callable[[bytes], bytes]

PACKED: list[tuple[Compression, Pack]] = [(GZIP, gzip.compress), (ZST, lambda data: zstd.compress(data, options=CHECKED))]
both = pytest.mark.parametrize(("compression", "pack"), PACKED, ids=["gzip", "zst"])


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    """The bytes as they may be read."""
    return (data[start : start + size] for start in range(0, len(data), size))


def members(pack: Pack, cuts: list[int]) -> bytes:
    """The text, cut there, with each part a member or frame of its own."""
    return b"".join(pack(TEXT[start:end]) for start, end in pairwise([0, *sorted(cuts), len(TEXT)]))


def loaded(data: bytes, compression: Compression) -> tuple[bytes, Unsound | None]:
    """The bytes that count as sound."""
    end, problem = measure(pieces(chunks(data, 512), compression))
    found = b""
    again = pieces(chunks(data, 512), compression)
    while len(found) < end:
        found += next(again)[0]
    return found[:end], problem


places = st.integers(0, len(TEXT))


@both
@settings(max_examples=25)
@given(cuts=st.lists(places, max_size=4), size=st.sampled_from([7, 4_096, 1 << 20]))
def test_what_is_whole_comes_out_as_it_went_in(compression: Compression, pack: Pack, cuts: list[int], size: int) -> None:
    data = members(pack, cuts)
    found = list(pieces(chunks(data, size), compression))
    assert b"".join(piece for piece, _ in found) == TEXT
    assert max(len(piece) for piece, _ in found) <= PIECE
    assert sum(ends for _, ends in found) == len(cuts) + 1
    assert recognise(data) is compression


@both
@settings(max_examples=25)
@given(cuts=st.lists(places, max_size=2), share=st.floats(0, 1, exclude_max=True))
def test_a_cut_one_gives_its_whole_lines(compression: Compression, pack: Pack, cuts: list[int], share: float) -> None:
    whole = members(pack, cuts)
    found, problem = loaded(whole[: int(len(whole) * share)], compression)
    assert TEXT.startswith(found)
    assert problem is None or isinstance(problem, Cut)
    assert problem is None or not found or found.endswith(b"\n")


@both
@settings(max_examples=25)
@example(cut=1901, share=0.4388361600156095, junk=b"\0")
@given(cut=places, share=st.floats(0, 1, exclude_max=True), junk=st.binary(min_size=1, max_size=40))
def test_a_damaged_one_gives_nothing_false(compression: Compression, pack: Pack, cut: int, share: float, junk: bytes) -> None:
    whole = bytearray(members(pack, [cut]))
    at = int(len(whole) * share)
    whole[at : at + len(junk)] = junk
    found, problem = loaded(bytes(whole), compression)
    before = TEXT[: TEXT.rfind(b"\n", 0, cut) + 1] if at >= len(pack(TEXT[:cut])) else b""
    assert found.startswith(before)
    # A member that has lost its end with the checksum is, byte for byte, one of another text that was cut off.
    assert TEXT.startswith(found) or isinstance(problem, Cut)


def test_what_stands_between_members() -> None:
    packed = gzip.compress(TEXT) + bytes(512)
    assert loaded(packed * 2, GZIP) == (TEXT * 2, None)
    framed = SKIPPED + zstd.compress(TEXT) + SKIPPED
    assert recognise(framed) is ZST
    assert loaded(framed * 2, ZST) == (TEXT * 2, None)
    found, problem = loaded(gzip.compress(TEXT) + b"a tail of something else", GZIP)
    assert found == TEXT
    assert "is damaged" in str(problem)


def test_a_window_that_is_too_wide() -> None:
    for window, problem in ((MOST_WINDOW, type(None)), (MOST_WINDOW + 1, TooWide)):
        compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: window})
        packed = compressor.compress(TEXT) + compressor.flush()
        assert isinstance(loaded(packed, ZST)[1], problem)
