"""Who may import whom: pure modules know no driver, packages share nothing but the database."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PURE = ["loader/event.py", "loader/ndjson.py", "loader/generate.py", "demo/fold.py"]
IMPURE = {"psycopg", "click", "httpx", "rich", "time", "socket", "os", "select", "threading"}


def imports(path: Path) -> set[str]:
    """The first names of what a module imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_know_no_driver_and_no_clock(module: str) -> None:
    assert imports(ROOT / module) & IMPURE == set()


def test_the_loader_imports_nothing_else_of_ours() -> None:
    for path in (ROOT / "loader").glob("*.py"):
        assert imports(path) & {"listener", "lake", "demo", "migrations", "tests", "benchmarks"} == set(), path


def test_only_the_command_line_knows_click() -> None:
    knowing = [path.name for path in (ROOT / "loader").glob("*.py") if "click" in imports(path)]
    assert knowing == ["cli.py"]


def test_the_oracle_shares_no_code_with_what_it_judges() -> None:
    assert imports(ROOT / "demo/fold.py") & {"loader", "migrations"} == set()
