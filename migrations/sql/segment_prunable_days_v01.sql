create function segment_prunable_days(parent text, until date) returns setof date
language sql stable security definer set search_path = public, pg_temp
as $$
  select to_date(right(c.relname, 8), 'YYYYMMDD') as day
  from pg_inherits i
  join pg_class c on c.oid = i.inhrelid
  where i.inhparent = parent::regclass and c.relname ~ '_[0-9]{8}$' and to_date(right(c.relname, 8), 'YYYYMMDD') < until
  order by 1
$$;

revoke execute on function segment_prunable_days(text, date) from public;
grant execute on function segment_prunable_days(text, date) to segment_keeper;

comment on function segment_prunable_days(text, date) is 'The UTC days before this one that have a partition of segment_events or segment_outcomes, the oldest first.';
