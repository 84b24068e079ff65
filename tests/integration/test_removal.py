"""Only retention, erasure and segment_reset() remove rows of events, outcomes or batches: the catalog and the code are read."""

import re
import subprocess

from tests.conftest import ROOT, Database
from tests.loading import newest

TABLES = r"segment_(?:events|outcomes|batches)\w*"
REMOVES = re.compile(
    rf"(?:delete\s+from|truncate(?:\s+table)?|drop\s+table(?:\s+if\s+exists)?|detach\s+partition)\s+(?:only\s+)?"
    rf"(?:[\w.%,\s]*\b{TABLES}|%I)|segment\.erasing'?,?\s*'?=?\s*'?on",
    re.IGNORECASE,
)

MAY = {"segment_reset", "segment_prune_events", "segment_prune_outcomes", "segment_erase_user"}
"""Functions that remove such rows."""

GONE_WITH_EVERYTHING = {"drop_core_v01.sql"}

FUNCTIONS = """
select p.proname, p.prosrc from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where n.nspname not in ('pg_catalog', 'information_schema')
"""

# What a rule or a foreign key would remove, nobody could read.
HIDDEN = """
select conname from pg_constraint
where contype = 'f' and confrelid in ('segment_events'::regclass, 'segment_outcomes'::regclass, 'segment_batches'::regclass)
union all
select conname from pg_constraint
where contype = 'f' and conrelid in ('segment_events'::regclass, 'segment_outcomes'::regclass, 'segment_batches'::regclass)
union all
select rulename from pg_rules where tablename ~ '^segment_(events|outcomes|batches)'
"""

PRIVILEGES = """
select grantee, table_name, privilege_type from information_schema.role_table_grants
where table_name ~ '^segment_(events|outcomes|batches)'
  and privilege_type in ('DELETE', 'TRUNCATE') and grantee <> 'segment_owner'
"""


@newest
def test_the_catalog(database: Database) -> None:
    """No other function, foreign key, rule or role."""
    assert {name for name, source in database.fetch(FUNCTIONS) if REMOVES.search(str(source))} == MAY
    assert database.fetch(HIDDEN) == []
    assert database.fetch(PRIVILEGES) == []


def test_the_code() -> None:
    """No program and no query does it by itself."""
    listed = subprocess.run(["git", "ls-files", "--", "*.py", "*.sql"], cwd=ROOT, capture_output=True, text=True, check=True)
    found = {
        path
        for path in listed.stdout.split()
        if not path.startswith(("tests/", "migrations/schema.sql", "benchmarks/"))
        and REMOVES.search((ROOT / path).read_text(encoding="utf-8"))
    }
    assert {path.rpartition("/")[2] for path in found} - GONE_WITH_EVERYTHING == {
        "segment_append_only_v01.sql",  # which lets them
        "segment_reset_v01.sql",
        "segment_reset_v02.sql",
        "segment_reset_v03.sql",
        "segment_prune_events_v01.sql",
        "segment_prune_outcomes_v01.sql",
        "segment_erase_v01.sql",
    }
