"""Where a lake lies: a local folder, or whatever fsspec knows by a URL. Only this module knows which.

A file appears under its name only when it is whole. What goes wrong is one of the lake's errors, in the store's own words, and
never tells a secret: a URL that carries credentials is refused.
"""

import errno
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from lake.errors import BadDestination, LakeError, NoDestination, StoreAway
from lake.fragment import Written, flush
from lake.layout import MARK, UNFINISHED

BLOCK = 1 << 20
"""How much of a remote file is asked for at a time."""

UNFIT = ("data", "http", "https", "memory")
"""Schemes of what keeps no files, or cannot list them."""

AWAY = ("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError", "HTTPClientError")


class Store(ABC):
    """A lake's files, by their paths below the destination."""

    name: str
    """The destination as the database knows it."""

    @abstractmethod
    def prepare(self) -> None:
        """Make the destination ready to be written to, or raise NoDestination."""

    @abstractmethod
    def mark(self) -> bytes | None:
        """What the file says that tells whose lake this is; None: it is not there."""

    @abstractmethod
    def claim(self, mark: bytes) -> None:
        """Write that file, unless it is there."""

    @abstractmethod
    def reclaim(self, mark: bytes) -> None:
        """Write that file in place of the one that is there."""

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Every file with its size, but for the mark and those that are being written."""

    @abstractmethod
    def open(self, path: str) -> IO[bytes]:
        """Open a file to read it from its beginning."""

    @abstractmethod
    def place(self, written: Sequence[Written]) -> None:
        """Put complete files in place, so that they stay there; those of such names are replaced."""

    @abstractmethod
    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""

    @abstractmethod
    def workspace(self) -> Path:
        """An empty folder for files that are being written, with room for them; whoever asked for it removes it."""


def find_store(destination: str) -> Store:
    """The store that a folder or a URL names: the same one however it is written."""
    scheme, separator, rest = destination.partition("://")
    store = remote(scheme.lower(), rest) if separator else Folder(destination)
    try:
        store.name.encode()
    except UnicodeEncodeError:
        raise BadDestination("The destination's name is not UTF-8, so the database could not keep it: choose another.") from None
    return store


def remote(scheme: str, rest: str) -> Store:
    """The store that a URL names."""
    try:
        url = urlsplit(f"{scheme}://{rest}")
    except ValueError:
        raise BadDestination from None
    if "@" in url.netloc or url.query or url.fragment:
        raise BadDestination(
            "The destination's URL holds credentials or options, which would end up in logs and in the database: leave them out, "
            "and set them in the environment, for S3 AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL."
        )
    if scheme in UNFIT or not rest.strip("/") or (scheme == "file" and url.netloc):
        raise BadDestination
    if scheme == "file":
        return Folder(unquote(url.path, errors="surrogateescape"))
    return Objects(f"{'s3' if scheme == 's3a' else scheme}://{rest.rstrip('/')}")


def is_protocol(word: str) -> bool:
    """Whether URLs begin so."""
    with suppress(ImportError):
        from fsspec import available_protocols  # noqa: PLC0415 - only a name with a colon needs it

        return word.lower() in available_protocols()
    return False


class Folder(Store):
    """A local folder: files are renamed into it once they and, after that, their folders are on the disk."""

    def __init__(self, path: str) -> None:
        word, colon, _ = path.partition(":")
        if not path or (colon and is_protocol(word)):
            raise BadDestination
        with telling(path):
            self.name = os.path.realpath(path)
        self._root = Path(self.name)

    def prepare(self) -> None:
        """Make the folder."""
        with telling(self.name):
            self._root.mkdir(parents=True, exist_ok=True)

    def mark(self) -> bytes | None:
        """Read it."""
        with telling(self.name), suppress(FileNotFoundError):
            return (self._root / MARK).read_bytes()
        return None

    def claim(self, mark: bytes) -> None:
        """Make it: of several that try, one does."""
        path = self._root / MARK
        with telling(self.name), suppress(FileExistsError), path.open("xb") as file:
            try:
                file.write(mark)
                flush(file)
            except OSError:
                path.unlink()
                raise
            synchronise(self._root)

    def reclaim(self, mark: bytes) -> None:
        """Rename another over it, so that it is never half there."""
        with telling(self.name):
            file = self.workspace() / MARK
            with file.open("xb") as opened:
                opened.write(mark)
                flush(opened)
            os.replace(file, self._root / MARK)
            synchronise(self._root)
            shutil.rmtree(file.parent)

    def sizes(self) -> dict[str, int]:
        """Every file below the folder; what cannot be listed is an error, lest its files be missing unnoticed."""
        sizes: dict[str, int] = {}
        for folder, folders, names in os.walk(self._root, onerror=unlisted):
            with telling(folder):
                files = [path for name in names if (path := Path(folder, name)).is_file()]
                sizes |= {path.relative_to(self._root).as_posix(): path.stat().st_size for path in files}
            if folder == self.name and UNFINISHED in folders:
                folders.remove(UNFINISHED)
        sizes.pop(MARK, None)
        return sizes

    def open(self, path: str) -> IO[bytes]:
        """Open a file."""
        with telling(f"{self.name}/{path}"):
            return (self._root / path).open("rb")

    def place(self, written: Sequence[Written]) -> None:
        """Rename, and have the new names on the disk."""
        with telling(self.name):
            folders = set()
            for file, fragment in written:
                target = self._root / fragment.path
                folders |= set(made(target.parent, self._root))
                os.replace(file, target)
            for folder in sorted(folders):
                synchronise(folder)

    def remove(self, path: str) -> None:
        """Remove a file."""
        with telling(self.name):
            (self._root / path).unlink(missing_ok=True)

    def workspace(self) -> Path:
        """A folder beside the events: on the same disk, so that a file can be renamed."""
        folder = self._root / UNFINISHED
        with telling(self.name):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        return folder


def unlisted(error: OSError) -> None:
    """Raise the error of a folder that cannot be listed."""
    raise told(error.filename, error) from None


def made(folder: Path, root: Path) -> Iterator[Path]:
    """Make a folder below the root; yield each folder that has a new name in it or may have, the root too."""
    folder.mkdir(parents=True, exist_ok=True)
    while folder != root:
        yield folder
        folder = folder.parent
    yield root


def synchronise(folder: Path) -> None:
    """Have a folder's names on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Objects(Store):
    """An object store: files are made in a temporary folder and uploaded whole."""

    def __init__(self, url: str) -> None:
        self.name = url
        with telling_client(url):
            self._fs, self._root = file_system(url)

    def prepare(self) -> None:
        """See that the bucket is there and can be listed."""
        self.sizes()

    def mark(self) -> bytes | None:
        """Read it."""
        with telling_client(self.name), suppress(FileNotFoundError):
            return bytes(self._fs.cat_file(f"{self._root}/{MARK}"))
        return None

    def claim(self, mark: bytes) -> None:
        """Write it. A store that cannot refuse the second of two writes tells it by what is read afterwards."""
        with telling_client(self.name):
            self._fs.pipe_file(f"{self._root}/{MARK}", mark)

    def reclaim(self, mark: bytes) -> None:
        """Write it."""
        self.claim(mark)

    def sizes(self) -> dict[str, int]:
        """Every object below the URL."""
        with telling_client(self.name):
            found = self._fs.find(self._root, detail=True)
            sizes = {str(PurePosixPath(name).relative_to(self._root)): int(detail["size"]) for name, detail in found.items()}
        return {name: size for name, size in sizes.items() if name != MARK}

    def open(self, path: str) -> IO[bytes]:
        """Open an object."""
        with telling_client(f"{self.name}/{path}"):
            opened: IO[bytes] = self._fs.open(f"{self._root}/{path}", "rb", block_size=BLOCK)
        return opened

    def place(self, written: Sequence[Written]) -> None:
        """Upload; an object appears when it is whole."""
        with telling_client(self.name):
            self._fs.put([str(one.file) for one in written], [f"{self._root}/{one.fragment.path}" for one in written])

    def remove(self, path: str) -> None:
        """Remove an object."""
        with telling_client(self.name):
            if self._fs.exists(f"{self._root}/{path}"):
                self._fs.rm_file(f"{self._root}/{path}")

    def workspace(self) -> Path:
        """A temporary folder; the caller removes it."""
        return Path(tempfile.mkdtemp(prefix="pgsegments-lake-"))


def file_system(url: str) -> tuple[Any, str]:
    """The file system that a URL names, and the path in it."""
    from fsspec.core import url_to_fs  # noqa: PLC0415 - a local folder needs none of it

    try:
        found, root = url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError, TypeError) as error:
        raise BadDestination(f"{url} cannot be used ({one_line(error)}): {BadDestination()}") from None
    return found, str(root).rstrip("/")


@contextmanager
def telling(name: str) -> Iterator[None]:
    """Turn what goes wrong with a destination or a file of it into one of the lake's errors."""
    try:
        yield
    except OSError as error:
        raise told(name, error) from None


@contextmanager
def telling_client(name: str) -> Iterator[None]:
    """Turn whatever a store's client raises into one of the lake's errors."""
    try:
        with telling(name):
            yield
    except LakeError:
        raise
    except Exception as error:
        if type(error).__name__ in AWAY:
            rest = StoreAway().args[0].removeprefix("The destination does not answer")
            raise StoreAway(f"{name} does not answer ({one_line(error)}){rest}") from None
        raise NoDestination(
            f"{name} cannot be used: {one_line(error)}. Set the store's credentials in the environment."
        ) from None


def told(name: str, error: OSError) -> NoDestination:
    """An error of the system's, or of a store in its shape."""
    said = os.strerror(error.errno) if error.errno and error.errno != errno.EIO else one_line(error)
    if error.errno == errno.ENOSPC:
        return NoDestination(f"{name} cannot be written: {said}. Make room, and run the command again: nothing is lost.")
    if isinstance(error, FileNotFoundError):
        return NoDestination(f"{name} is not there ({said}): see that its name is right, and for a bucket that it was made.")
    if isinstance(error, PermissionError):
        return NoDestination(f"{name} may not be used ({said}): choose another destination, or get access to it.")
    return NoDestination(f"{name} cannot be used: {said.rstrip('.')}. Choose another destination, or mend this one.")


def one_line(error: Exception) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__
