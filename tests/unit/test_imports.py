"""Who may import whom: pure modules know no driver, packages share nothing but the database."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PURE = [
    "loader/access.py", "loader/compressed.py", "loader/event.py", "loader/ndjson.py", "loader/rows.py", "loader/generate.py",
    "loader/faults.py",
    "listener/access.py", "listener/pgoutput.py", "listener/toggles.py", "listener/outbox.py", "listener/base.py",
    "lake/layout.py", "lake/line.py", "lake/merge.py",
    "chaos/endings.py", "chaos/schedule.py",
    "demo/fold.py", "demo/page/charts.py", "demo/page/guard.py", "demo/page/queries.py",
]  # fmt: skip
IMPURE = {"psycopg", "click", "httpx", "rich", "time", "socket", "os", "select", "threading", "fsspec", "pyarrow"}


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


@pytest.mark.parametrize(("package", "more"), [("loader", set()), ("listener", set()), ("lake", {"loader"})])
def test_a_package_imports_nothing_else_of_ours(package: str, more: set[str]) -> None:
    others = {path.parent.name for path in ROOT.glob("*/*.py")} | {"benchmarks", "tests"}
    assert package in others
    for path in (ROOT / package).glob("*.py"):
        assert imports(path) & (others - {package} - more) == set(), path


@pytest.mark.parametrize(
    ("package", "library", "modules"),
    [
        ("loader", "click", {"cli.py", "options.py"}),
        ("listener", "click", {"cli.py", "options.py"}),
        ("listener", "prometheus_client", {"metrics.py"}),
        ("listener", "httpx", {"webhook.py"}),
        ("lake", "click", {"cli.py"}),
        ("lake", "fsspec", {"store.py"}),
    ],
)
def test_only_these_modules_know(package: str, library: str, modules: set[str]) -> None:
    assert {path.name for path in (ROOT / package).glob("*.py") if library in imports(path)} == modules


@pytest.mark.parametrize("module", ["pgoutput", "toggles", "outbox", "base"])
def test_pure_modules_import_pure_modules_alone(module: str) -> None:
    """Of the listener's own, not even one that opens a socket for them."""
    tree = ast.walk(ast.parse((ROOT / "listener" / f"{module}.py").read_text(encoding="utf-8")))
    names = {node.module for node in tree if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("listener")}
    assert names <= {"listener.errors", "listener.pgoutput", "listener.toggles"}


def test_the_oracle_shares_no_code_with_what_it_judges() -> None:
    assert imports(ROOT / "demo/fold.py") & {"loader", "migrations"} == set()
