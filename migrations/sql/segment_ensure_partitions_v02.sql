-- Called in a transaction of its own: ATTACH holds a lock (against DDL and VACUUM of the parent, not against reading or loading)
-- until it commits. Two callers at once wait for each other, and look again when it is their turn (taking a table's lock also
-- makes a session see what others have made meanwhile, which an advisory lock does not). One that finds nothing missing takes none.
create or replace function segment_ensure_partitions(first_day date, last_day date) returns void
language plpgsql security definer set search_path = public, pg_temp set timezone = 'UTC'
as $$
#variable_conflict use_variable
declare
  since constant date := (select greatest(first_day, s.first_day, s.horizon::date) from segment_settings s);
  needed record;
begin
  if first_day is null or last_day is null or last_day > '9999-12-31' or last_day - since > 1000 then
    raise exception 'Partitions cannot be made from % to %: both days are needed, and at most 1000 days at once.', first_day, last_day
      using errcode = 'SG004',
            hint = 'Ask for the days that the events need, in several calls.';
  end if;

  for needed in
    select parent, day, format('%s_%s', parent, to_char(day, 'YYYYMMDD')) as name
    from (
      select 'segment_events' as parent, generate_series(since, last_day, '1 day')::date as day
      union all
      select 'segment_outcomes', generate_series(current_date, current_date + 1, '1 day')::date
    ) days
    where to_regclass(format('%s_%s', parent, to_char(day, 'YYYYMMDD'))) is null
    order by 1, 2
  loop
    execute format('lock table only %I in share update exclusive mode', needed.parent);
    if to_regclass(needed.name) is null then
      perform segment_add_partition(
        needed.parent, needed.name, quote_literal(needed.day::timestamptz), quote_literal((needed.day + 1)::timestamptz)
      );
    end if;
  end loop;
end $$;

comment on function segment_ensure_partitions(date, date) is 'Makes the partitions for events of these UTC days, both included, but for those before the horizon, and for outcomes of today and tomorrow, where they are missing. The loader calls it; who loads by plain SQL alone calls it daily.';
