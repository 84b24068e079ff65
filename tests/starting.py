"""Runs the project's programs out of a process that has imported what they need: half of what a short run costs is imports.

Each run is a process of its own, with its own arguments, environment, folder and streams, as if started by a shell.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

PROGRAMS = ("loader", "listener", "lake")
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([f"{name}.cli" for name in PROGRAMS])


def starts(command: Sequence[str | Path]) -> bool:
    """Whether a command is one of the programs."""
    return tuple(command[:2]) == (sys.executable, "-m") and command[2] in PROGRAMS


def run(
    command: Sequence[str | Path], folder: Path, environment: Mapping[str, str], data: bytes | None, seconds: float
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end; raise TimeoutExpired, once it is killed, if that takes longer."""
    words = [str(word) for word in command[2:]]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        read, write = os.pipe()
        streams = [DupFd(descriptor) for descriptor in (read, out.fileno(), err.fileno())]
        process = CONTEXT.Process(target=become, args=(words, str(folder), dict(environment), streams))
        process.start()
        os.close(read)
        feeding = threading.Thread(target=feed, args=(write, data or b""))
        feeding.start()
        process.join(seconds)
        if process.is_alive():
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(words, seconds)
        feeding.join()
        code = process.exitcode
        assert code is not None
        process.close()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(words, code, out.read(), err.read())


def feed(descriptor: int, data: bytes) -> None:
    """Write all to a pipe, unless nobody reads it any more."""
    with suppress(BrokenPipeError), os.fdopen(descriptor, "wb") as pipe:
        pipe.write(data)


def become(words: list[str], folder: str, environment: dict[str, str], streams: Sequence[Any]) -> None:
    """Be the program, in the process that was forked for it."""
    for target, stream in enumerate(streams):
        descriptor = stream.detach()
        os.dup2(descriptor, target)
        os.close(descriptor)
    sys.stdin = os.fdopen(0, "r", encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = words
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
