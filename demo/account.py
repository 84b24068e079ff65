"""Who runs PostgreSQL, which refuses to run as root, and the folders that this account and others may use."""

import contextlib
import os
import pwd
import stat
import subprocess
from pathlib import Path
from typing import Any, Final

from demo import errors

ACCOUNTS: Final = ("postgres", "nobody")


def account() -> dict[str, Any]:
    """Who runs PostgreSQL, as subprocess takes it: whoever runs this, but for root an account without rights."""
    if os.geteuid() != 0:
        return {}
    for name in ACCOUNTS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise errors.AccountMissingError(names=" nor ".join(ACCOUNTS))


def account_can(access: str, path: Path) -> bool:
    """Whether the account may: asked of the kernel, as no reading of mode bits knows every rule."""
    return subprocess.run(["/usr/bin/test", access, path], check=False, **account()).returncode == 0


def claim(folder: Path) -> None:
    """Make the folder, or take it if it is ours already; others may pass through it and no more."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(0o700)
    verify(folder)
    folder.chmod(0o711)


def verify(folder: Path) -> None:
    """Raise unless it is a folder of ours: anybody may have made one, or a link, of this name in /var/tmp before us."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise errors.ForeignFolderError(folder=folder)


def give(folder: Path) -> None:
    """Make a folder that only the account can enter."""
    folder.mkdir(0o700)
    if other := account():
        os.chown(folder, other["user"], other["group"])
