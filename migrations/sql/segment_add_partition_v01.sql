-- CREATE TABLE … PARTITION OF would lock the parent against everything; LIKE and ATTACH let loading and reading go on.
create function segment_add_partition(parent text, partition text, lower text, upper text) returns void
language plpgsql set search_path = public, pg_temp
as $$
begin
  execute format('create table %I (like %I including all)', partition, parent);
  execute format('create trigger %I before insert or update or delete or truncate on %I for each statement execute function segment_refuse_change()', parent || '_0_append_only', partition);
  execute format('comment on table %I is %L', partition, format('A partition of %s; never named directly.', parent));
  execute format('alter table %I attach partition %I for values from (%s) to (%s)', parent, partition, lower, upper);
end $$;

revoke execute on function segment_add_partition(text, text, text, text) from public;

comment on function segment_add_partition(text, text, text, text) is 'Adds a partition of segment_events or segment_outcomes for the bounds given.';
