create function segment_day_batches(day date) returns int8multirange
language plpgsql stable security definer set search_path = public, pg_temp
as $$
declare
  found_batches int8multirange;
begin
  execute format(
    'select range_agg(int8range(batch_id, batch_id, ''[]'')) from (select distinct batch_id from %I) b',
    segment_day_partition('segment_events', day)
  ) into found_batches;
  return coalesce(found_batches, '{}');
end $$;

create function segment_day_partition(parent text, day date) returns text
language sql immutable set search_path = public, pg_temp
as $$ select coalesce(parent || '_' || to_char(day, 'YYYYMMDD'), parent || '_older') $$;

revoke execute on function segment_day_batches(date), segment_day_partition(text, date) from public;
grant execute on function segment_day_batches(date) to segment_keeper;

comment on function segment_day_batches(date) is 'The batches that have events of this UTC day; null: of the time before the first day.';
comment on function segment_day_partition(text, date) is 'The name of the day''s partition; null: that of everything before the first day.';
