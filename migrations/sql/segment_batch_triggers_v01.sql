-- The triggers only call the functions: where the engine has no triggers (distributed tables), the loader calls them itself.
create function segment_events_begin_batch() returns trigger
language plpgsql security definer set search_path = public, pg_temp
as $$
begin
  perform segment_begin_batch();
  return null;
end $$;

create function segment_events_end_batch() returns trigger
language plpgsql security definer set search_path = public, pg_temp
as $$
begin
  perform segment_end_batch();
  return null;
end $$;

revoke execute on function segment_events_begin_batch(), segment_events_end_batch() from public;

create trigger segment_events_1_begin_batch before insert on segment_events
for each statement execute function segment_events_begin_batch();

create trigger segment_events_2_end_batch after insert on segment_events
for each statement execute function segment_events_end_batch();

comment on function segment_events_begin_batch() is 'Trigger: begins a batch with the owner''s rights.';
comment on function segment_events_end_batch() is 'Trigger: ends and reduces the batch with the owner''s rights.';
comment on trigger segment_events_1_begin_batch on segment_events is 'Every statement that adds events is a batch.';
comment on trigger segment_events_2_end_batch on segment_events is 'A batch is reduced in the transaction that adds it.';
