-- Privileges keep other roles out; these triggers keep the owner and superusers from an accident. Statement triggers fire for
-- the table that the statement names, and are not cloned: segment_add_partition() gives each partition its own, which refuses
-- direct inserts too.
create function segment_refuse_change() returns trigger
language plpgsql set search_path = public, pg_temp
as $$
begin
  if current_setting('segment.erasing', true) = 'on' then
    return null;  -- a function that may has set it, until it ends
  end if;
  raise exception '% of % is refused: events and outcomes are only ever added, through segment_events.', tg_op, tg_table_name
    using errcode = 'SG001',
          hint = 'To take back an event add a newer one; segment_reset() empties everything.';
end $$;

revoke execute on function segment_refuse_change() from public;

create trigger segment_events_0_append_only before update or delete or truncate on segment_events
for each statement execute function segment_refuse_change();

create trigger segment_outcomes_0_append_only before update or delete or truncate on segment_outcomes
for each statement execute function segment_refuse_change();

comment on function segment_refuse_change() is 'Trigger: refuses the statement, except within a function that may erase.';
comment on trigger segment_events_0_append_only on segment_events is 'Events are never changed or removed.';
comment on trigger segment_outcomes_0_append_only on segment_outcomes is 'Outcomes are never changed or removed.';
