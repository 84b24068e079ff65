"""A database for the demo and the benchmarks: made anew, migrated, with dbt's views, and tested by dbt."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from demo import postgres
from demo.errors import StepFailedError, UntrueError

ROOT = Path(__file__).resolve().parents[1]


def fresh_database(server: postgres.Server, name: str) -> None:
    """Make a database anew, and migrate it."""
    server.drop_database(name)
    server.create_database(name)
    run_step("migrating", ROOT, [sys.executable, "-m", "alembic", "upgrade", "head"], server.environment(name))


def build_views(server: postgres.Server, name: str) -> None:
    """Have dbt build its models."""
    dbt(server, name, "run")


def dbt(server: postgres.Server, name: str, *arguments: str) -> None:
    """Run dbt on a database; the files that it writes go to .demo."""
    files = {"DBT_TARGET_PATH": str(postgres.STATE / "dbt"), "DBT_LOG_PATH": str(postgres.STATE / "dbt")}
    command: list[str | Path] = [Path(sys.executable).with_name("dbt"), "--quiet", *arguments]
    run_step(f"dbt {arguments[0]}", ROOT / "dbt_project", command, server.environment(name) | files)


def prove(server: postgres.Server, name: str) -> None:
    """Have dbt's tests fold all events anew and compare; raise UntrueError where the tables say something else."""
    try:
        dbt(server, name, "test", "--no-use-colors")
    except StepFailedError as error:
        if failed := re.findall(r"Failure in test (\w+)", str(error)):
            raise UntrueError(tests=", ".join(failed)) from None
        raise


def run_step(step: str, folder: Path, command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
    """Run a program to its end, which has to be a good one."""
    done = subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StepFailedError(step=step, said=(done.stdout + done.stderr).strip())
