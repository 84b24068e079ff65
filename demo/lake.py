"""An export in the role segment_lake that brings the demo's events to .demo/lake, and what it has brought there."""

import gzip
import shutil
from collections.abc import Iterator, Mapping

from demo import postgres
from demo.errors import StepFailedError
from demo.program import Program

DESTINATION = postgres.STATE / "lake"
EVERY = ("--every", "10s", "--linger", "0s")
COMMANDS = ("find .demo/lake -name '*.gz'", "zcat $(find .demo/lake -name '*.gz' | tail -1) | jq .")
"""How to look at it from the checkout's folder."""


def lines() -> Iterator[bytes]:
    """Every line of every file."""
    for file in DESTINATION.rglob("*.jsonl.gz"):
        with gzip.open(file) as found:
            yield from found


class Lake:
    """From the tables to files."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.export = Program("exporting", "segment_lake", environment, "lake", "export", DESTINATION, *EVERY)

    def clear(self) -> None:
        """Remove the files of before."""
        shutil.rmtree(DESTINATION, ignore_errors=True)

    def finish(self) -> None:
        """Export what is not exported yet, once the other export has ended."""
        done = self.export.run("export", DESTINATION)
        if done.returncode:
            raise StepFailedError(step="exporting", said=done.stderr.strip().rpartition("\n")[2])
