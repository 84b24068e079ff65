"""What every migration needs: run a file of migrations/sql, and refuse what would hurt others.

A file holds one object with its comments and rights, and is frozen once released: a change is a new file with the next version.
"""

from pathlib import Path

from alembic import op
from alembic.util import CommandError

SQL = Path(__file__).parent / "sql"

# Views of others that stand on the owner's tables or views of such names, directly or through each other.
DEPENDENT_VIEWS = """
with recursive standing as (
  select c.oid, c.relkind, c.relowner
  from pg_class c
  where c.relowner = %(owner)s::regrole and c.relname like %(names)s
  union
  select v.oid, v.relkind, v.relowner
  from standing s
  join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = s.oid and d.classid = 'pg_rewrite'::regclass
  join pg_rewrite r on r.oid = d.objid
  join pg_class v on v.oid = r.ev_class and v.oid <> s.oid
)
select relkind = 'm', string_agg(oid::regclass::text, ', ' order by oid::regclass::text)
from standing
where relowner <> %(owner)s::regrole
group by 1
order by 1
"""


def create(file: str) -> None:
    """Run one file; the driver gets it as it is, so that % and : mean nothing special."""
    script = (SQL / f"{file}.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(script, execution_options={"no_parameters": True})


def drop(file: str) -> None:
    """Run the file that drops what a migration made."""
    create(f"drop_{file}")


def require_utf8() -> None:
    """Raise unless the database stores Unicode: the contract's lengths are in code points."""
    encoding: str = op.get_bind().exec_driver_sql("show server_encoding").scalar_one()
    if encoding != "UTF8":
        raise CommandError(
            f"The database's encoding is {encoding}, which cannot hold every user's name: "
            "make a database with encoding UTF8 and migrate that."
        )


def refuse_if_others_depend(names: str = "%", owner: str = "segment_owner") -> None:
    """Raise with the command that drops them when views of others stand on what is to be dropped; `names` as in LIKE."""
    found = op.get_bind().exec_driver_sql(DEPENDENT_VIEWS, {"names": names, "owner": owner}).all()
    if found:
        commands = "; ".join(f"drop {'materialized view' if stored else 'view'} {views}" for stored, views in found)
        raise CommandError(f"Views of others stand on what is to go, so nothing was changed. To drop them first: {commands};")
