-- An event without a row here reads as a repeat, so events go first; days go in their order, so that what is left of a key's
-- outcomes are its latest. A batch goes when neither its events nor its outcomes are there any more.
create function segment_prune_outcomes(day date, out outcomes bigint, out batches bigint)
language plpgsql security definer set search_path = public, pg_temp set timezone = 'UTC' set lock_timeout = '1s' set jit = off
as $$
declare
  partition constant text := segment_day_partition('segment_outcomes', day);
  slots text;
begin
  perform segment_require_read_committed();
  outcomes := 0;
  batches := 0;
  if to_regclass(partition) is null then
    return;  -- they went, and who called had not heard of it
  end if;
  if day >= current_date or day > (select min(d) from segment_prunable_days('segment_outcomes', current_date) d) then
    raise exception 'Outcomes of % are not the oldest.', day using errcode = 'SG008', hint = 'Days go in their order.';
  end if;

  lock table only segment_outcomes in access exclusive mode;
  if exists (select from segment_batches b where b.recorded_at >= day and b.recorded_at < day + 1 and b.events > 0) then
    outcomes := null;
    batches := null;
    return;
  end if;
  select string_agg(c.slot, ', ' order by c.slot) into slots
  from webhook_cursors c
  where exists (
    select from segment_batches b
    where b.recorded_at >= day and b.recorded_at < day + 1 and b.outcomes > 0
      and pg_visible_in_snapshot(b.xact_id, c.base) is not true
  );
  if slots is not null then
    raise exception 'The listener of the slot % has not delivered all toggles of that day, or not said so yet.', slots
      using errcode = 'SG006',
            hint = 'Run it, or, if that webhook is given up, listener drop.';
  end if;

  execute format('select count(*) from %I', partition) into outcomes;
  execute format('lock table %I in access exclusive mode', partition);
  perform set_config('segment.erasing', 'on', true);
  execute format('drop table %I', partition);
  delete from segment_batches b where b.recorded_at >= day and b.recorded_at < day + 1;
  get diagnostics batches = row_count;
  perform set_config('segment.erasing', 'off', true);
end $$;

revoke execute on function segment_prune_outcomes(date) from public;
grant execute on function segment_prune_outcomes(date) to segment_keeper;

comment on function segment_prune_outcomes(date) is 'Removes the outcomes that were recorded on this UTC day with their partition, and its batches, if their events are gone; returns how many, nulls where events of them are kept. Raises SG006 where a listener has not delivered them, lock_not_available where they are in use.';
