"""The schema that the migrations result in: migrations/schema.sql, so that a reviewer sees a change of them as a change of it."""

import re
import subprocess

# What differs from day to day and run to run: dated partitions are left out, bounds and tokens are blanked, comments dropped.
EXCLUDED = ("--exclude-table=segment_events_2*", "--exclude-table=segment_outcomes_2*")
BOUND = re.compile(r"(?<=FOR VALUES FROM \(MINVALUE\) TO \()'[^']*'")
NOISE = re.compile(r"^(--.*|\\(un)?restrict .*|SET .*|SELECT pg_catalog\.set_config.*)$", re.MULTILINE)
BLANK_LINES = re.compile(r"\n{3,}")


def dump(pg_dump: str) -> str:
    """The schema, as SQL, of the database that libpq's environment names; the same for every migrated database of one version."""
    command = [pg_dump, "--schema-only", *EXCLUDED]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - no shell
    text = BOUND.sub("'400 days before the migration'", NOISE.sub("", text))
    return BLANK_LINES.sub("\n\n", text).strip() + "\n"
