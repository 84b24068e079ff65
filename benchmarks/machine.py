"""The machine, the programs and the server's settings of a run: what is needed to compare it with others."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

from benchmarks.bench import Bench

SETTINGS = (
    *("fsync", "synchronous_commit", "full_page_writes", "wal_level", "wal_compression", "wal_writer_delay"),
    *("shared_buffers", "max_wal_size", "checkpoint_timeout"),
)


def machine(data: Path) -> dict[str, str]:
    """The machine; `data` is the folder whose file system counts."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": processor(Path("/proc/cpuinfo").read_text()),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory / 2**30:.0f} GiB",
        "kernel": "Linux " + re.match(r"[\d.]*\d", platform.release())[0],  # type: ignore[index]
        "file system": file_system(data, Path("/proc/self/mountinfo").read_text()),
        "Python": platform.python_version(),
        "psycopg": version("psycopg"),
        "DuckDB": version("duckdb"),
    }


def server(bench: Bench) -> dict[str, str]:
    """The server's version and settings; what is not here is PostgreSQL's default."""
    ((number,),) = bench.fetch("show server_version", "postgres")
    return {"PostgreSQL": number.split()[0]} | {name: bench.fetch(f"show {name}", "postgres")[0][0] for name in SETTINGS}


def processor(described: str) -> str:
    """The processor's name, or its architecture where the kernel knows none."""
    found = re.search(r"^model name\s*: (.+)$", described, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def file_system(folder: Path, mounts: str) -> str:
    """The type of the file system that holds a folder."""
    found = {}
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        found[Path(before.split()[4])] = after.split()[0]
    return next(found[parent] for parent in [folder, *folder.parents] if parent in found)
