"""What the loader is measured against: a bare table, and the reduction as people first write it, row by row in a trigger."""

from benchmarks.bench import DATABASE, Bench

COLUMNS = "user_id, occurred_at, event_id, vendor, segment_name, value, remove, extra"

TABLES = """
create table bare (
  user_id text, occurred_at timestamptz, event_id uuid, vendor integer, segment_name text, value text, remove boolean, extra jsonb
);

create table row_by_row (like bare, primary key (user_id, occurred_at, event_id));

create table row_memberships (
  user_id text, vendor integer, segment_name text, member boolean, first timestamptz, last timestamptz, value text,
  changed boolean, events bigint, newest_event_id uuid, primary key (user_id, vendor, segment_name)
);

create index on row_memberships (vendor, segment_name, user_id) where member;

create table row_outcomes (
  id bigint generated always as identity primary key, recorded_at timestamptz default now(), like bare, outcome text,
  previous_event_id uuid, previous_at timestamptz
);

create function reduce_row() returns trigger language plpgsql as $$
declare
  known row_memberships;
  found_outcome text;
begin
  select * into known from row_memberships
  where user_id = new.user_id and vendor = new.vendor and segment_name = new.segment_name
  for update;
  if not found then
    found_outcome := case when new.remove then 'absent' else 'joined' end;
    insert into row_memberships values (
      new.user_id, new.vendor, new.segment_name, not new.remove, case when not new.remove then new.occurred_at end,
      new.occurred_at, new.value, not new.remove, 1, new.event_id
    );
  elsif new.occurred_at < known.last then
    found_outcome := 'late';
    update row_memberships
    set events = events + 1, first = case when new.remove then first else least(first, new.occurred_at) end
    where user_id = new.user_id and vendor = new.vendor and segment_name = new.segment_name;
  else
    found_outcome := case
      when known.member <> new.remove then 'repeat'
      when new.remove then 'left'
      when known.first is null then 'joined'
      else 'rejoined'
    end;
    update row_memberships
    set member = not new.remove, last = new.occurred_at, value = coalesce(new.value, value),
      changed = found_outcome <> 'repeat', events = events + 1, newest_event_id = new.event_id,
      first = case when new.remove then first else least(first, new.occurred_at) end
    where user_id = new.user_id and vendor = new.vendor and segment_name = new.segment_name;
  end if;
  if found_outcome <> 'repeat' then
    insert into row_outcomes (
      user_id, occurred_at, event_id, vendor, segment_name, value, remove, extra, outcome, previous_event_id, previous_at
    )
    values (
      new.user_id, new.occurred_at, new.event_id, new.vendor, new.segment_name, new.value, new.remove, new.extra, found_outcome,
      known.newest_event_id, known.last
    );
  end if;
  return null;
end $$;

create trigger reduce_row after insert on row_by_row for each row execute function reduce_row();
"""


def install(bench: Bench) -> None:
    """Make the tables and the trigger in the bench's database."""
    with bench.server.connect(DATABASE, autocommit=True) as connection:
        connection.execute(TABLES)
