"""The queries of queries/, as psql has them, for a program: the same text, with its variables as bound parameters. Pure.

What psql does with them is little: a variable that is not set gets the default that the file names, and `:name` or `:'name'`
stands for its value. Here they become parameters, so that a value is never part of a statement.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parents[2] / "queries"
DEFAULT: Final = re.compile(r"\\if :\{\?(\w+)\} \\else \\set (?P<name>\w+) (?P<default>\S*) *\\endif\n")
VARIABLE: Final = re.compile(r"(?<!:):(?P<quote>'?)(?P<name>[a-z_]+)(?P=quote)")
COMMENT: Final = re.compile(r"^--.*\n", re.MULTILINE)


@dataclass(frozen=True)
class Query:
    """A question, the SQL as it is shown, the statement for psycopg, and each variable's default: a number or a text."""

    name: str
    question: str
    shown: str
    statement: str
    defaults: Mapping[str, str | int]

    def bound(self, wanted: Mapping[str, str]) -> dict[str, str | int]:
        """The parameters: what is wanted and not empty, else the default; raises ValueError where a number is none."""
        return {name: type(default)(wanted[name]) if wanted.get(name) else default for name, default in self.defaults.items()}


def read(name: str) -> Query:
    """The query in queries/<name>.sql."""
    text = (FOLDER / f"{name}.sql").read_text(encoding="utf-8")
    question = text.partition("\n")[0].removeprefix("-- ")
    defaults = {found["name"]: value(found["default"]) for found in DEFAULT.finditer(text)}
    shown = COMMENT.sub("", DEFAULT.sub("", text)).strip()
    statement = VARIABLE.sub(r"%(\g<name>)s", shown.rstrip(";").replace("%", "%%"))
    return Query(name, question, shown, statement, defaults)


def value(default: str) -> str | int:
    """A default, as a number if it is one."""
    return int(default) if default.isdecimal() else default.strip("'")


def cell(found: object) -> str:
    """A value as it is shown in a table."""
    if found is None:
        return ""
    if isinstance(found, datetime):
        return found.isoformat(sep=" ", timespec="milliseconds")
    if isinstance(found, list):
        return ", ".join(map(str, found))
    if isinstance(found, bool):
        return "yes" if found else "no"
    return str(found)
