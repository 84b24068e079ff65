"""Compressed bytes to bytes, a piece at a time: gzip of one member or many, zst of one frame or many.

A piece is at most PIECE bytes, whatever the input promises, and a zst window at most MOST_WINDOW: memory is bounded. A checksum
stands at the end of a member or a frame, so only then is it known that its bytes are what was compressed: rubbish decompresses
to false lines without complaint. Nothing here opens a file.
"""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from isal import igzip_lib

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE = 64 * 1024

MOST_WINDOW = 26
"""The binary logarithm of the largest zst window, 64 MiB, which is in memory as a whole: `zstd --long` makes larger ones."""


class Unsound(Exception):  # noqa: N818 - their base says what they are
    """cannot be decompressed to its end"""

    repair = "replace it by a good copy"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class Cut(Unsound):
    """ends within its compressed data"""

    repair = "complete it"


class Damaged(Unsound):
    """is damaged"""


class TooWide(Unsound):
    """needs a zst window of more than 64 MiB, which would take as much memory"""

    repair = "compress it again with a smaller window, such as by zstd --long=26,"


class Decoder(Protocol):
    """Decompresses one member or frame."""

    @property
    def eof(self) -> bool:
        """Whether its end was reached, checksum and all."""

    @property
    def needs_input(self) -> bool:
        """Whether there is no more to be had from what was put in."""

    @property
    def unused_data(self) -> bytes:
        """What was put in beyond its end."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Put `data` in, take at most `max_length` bytes out."""


@dataclass(frozen=True)
class Compression:
    """One way to compress; `program` undoes it, `padding` is what may stand after a member and means nothing."""

    name: str
    ending: str
    program: str
    magic: re.Pattern[bytes]
    decoder: Callable[[], Decoder]
    padding: bytes = b""


GZIP = Compression(
    "gzip",
    ".gz",
    "zcat",
    re.compile(rb"\x1f\x8b"),
    partial(igzip_lib.IgzipDecompressor, igzip_lib.DECOMP_GZIP),
    padding=b"\0",
)
ZST = Compression(
    "zst",
    ".zst",
    "zstdcat",
    re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),  # a frame, or one to skip
    partial(zstd.ZstdDecompressor, options={zstd.DecompressionParameter.window_log_max: MOST_WINDOW}),
)
COMPRESSIONS = (GZIP, ZST)


def recognise(beginning: bytes) -> Compression | None:
    """Return the compression of which this is the beginning; no line of JSON begins so."""
    return next((compression for compression in COMPRESSIONS if compression.magic.match(beginning)), None)


def pieces(chunks: Iterator[bytes], compression: Compression) -> Iterator[tuple[bytes, bool]]:
    """Yield the uncompressed bytes, and whether a member or frame ends with them; raise Unsound."""
    data = next(chunks, b"")
    while data:
        decoder = compression.decoder()
        while not decoder.eof:
            if decoder.needs_input and not data and not (data := next(chunks, b"")):
                raise Cut
            try:
                piece = decoder.decompress(data, PIECE)
            except (igzip_lib.IsalError, zstd.ZstdError) as error:  # type: ignore[misc] # isal's stub names an instance
                raise judge(str(error)) from None
            data = b""
            yield piece, decoder.eof
        data = decoder.unused_data
        while not (data := data.lstrip(compression.padding)) and (data := next(chunks, b"")):
            pass


def judge(error: str) -> Unsound:
    """Return what a library's error means."""
    return TooWide() if "too much memory" in error else Damaged(f"is damaged ({error})")


def measure(found: Iterator[tuple[bytes, bool]]) -> tuple[int, Unsound | None]:
    """Return how many uncompressed bytes are to be had, and what keeps it from being all of them.

    Of a cut input these are the whole lines; of a damaged one, the whole lines in the members or frames before the damage.
    """
    at = line = sound = 0
    try:
        for piece, ends in found:
            if newline := piece.rfind(b"\n") + 1:
                line = at + newline
            if ends:
                sound = line
            at += len(piece)
    except Cut as cut:
        return line, cut
    except Unsound as unsound:
        return sound, unsound
    return at, None
