-- A batch that is not in every lake is one beyond the least of their positions. Those up to it were there, whole, before that
-- position was read: so what is counted of them before the lock is taken is what goes, if under the lock there is none beyond.
-- Who inserts holds a lock that this one waits for, so none can appear then.
create function segment_prune_events(day date) returns bigint
language plpgsql security definer set search_path = public, pg_temp set timezone = 'UTC' set lock_timeout = '1s' set jit = off
as $$
declare
  partition constant text := segment_day_partition('segment_events', day);
  until constant timestamptz := (select horizon from segment_settings);
  whole constant boolean := until >= coalesce(day + 1, (select first_day from segment_settings))::timestamptz;
  last_xact xid8;
  last_batch bigint;
  batches bigint[];
  counts bigint[];
  total bigint;
begin
  perform segment_require_read_committed();
  if to_regclass(partition) is null then
    return 0;  -- they went, and who called had not heard of it
  end if;
  if until is null or not (whole or day is null) then
    raise exception 'The events of % are not expired.', day using errcode = 'SG008', hint = 'Move the horizon first.';
  end if;
  select d.xact_id, d.batch_id into last_xact, last_batch from lake_destinations d order by d.xact_id, d.batch_id limit 1;
  if not found then
    raise exception 'No lake has these events.' using errcode = 'SG006', hint = 'Run lake export first.';
  end if;

  perform segment_require_exported(partition, until, last_xact, last_batch);
  execute format(
    'select array_agg(batch_id), array_agg(n), coalesce(sum(n), 0) from (
      select batch_id, count(*) as n from %I where occurred_at < $1 group by batch_id
    ) c', partition
  ) into batches, counts, total using until;
  update segment_batches b set events = b.events - c.n from unnest(batches, counts) c (batch_id, n) where b.batch_id = c.batch_id;

  if day is not null then
    lock table only segment_events in access exclusive mode;
  end if;
  execute format('lock table %I in access exclusive mode', partition);
  perform segment_require_exported(partition, until, last_xact, last_batch);
  update lake_destinations d set pruned = d.pruned + total
  where total > 0 and (d.xact_id, d.batch_id) >= (last_xact, last_batch);  -- not one that began meanwhile, which never gets them
  perform set_config('segment.erasing', 'on', true);
  if day is not null then
    execute format('drop table %I', partition);
  elsif whole then
    execute format('truncate %I', partition);
  else
    execute format('delete from %I where occurred_at < $1', partition) using until;
  end if;
  perform set_config('segment.erasing', 'off', true);
  return total;
end $$;

create function segment_require_read_committed() returns void
language plpgsql set search_path = public, pg_temp
as $$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'What may go is looked at again under a lock, which a transaction that is % cannot.', current_setting('transaction_isolation')
      using errcode = 'SG007',
            hint = 'Call it in a transaction that is read committed.';
  end if;
end $$;

create function segment_require_exported(partition text, until timestamptz, last_xact xid8, last_batch bigint) returns void
language plpgsql set search_path = public, pg_temp
as $$
declare
  missing bigint;
  lakes text;
begin
  execute format(
    'select count(*) from segment_batches b
    where (b.xact_id, b.batch_id) > ($1, $2) and exists (select from %I e where e.batch_id = b.batch_id and e.occurred_at < $3)', partition
  ) into missing using last_xact, last_batch, until;
  if missing > 0 then
    select string_agg(d.destination, ', ' order by d.destination) into lakes
    from lake_destinations d where (d.xact_id, d.batch_id) = (last_xact, last_batch);
    raise exception 'Events of % batches are not in the lake % yet.', missing, lakes
      using errcode = 'SG006',
            hint = 'Run lake export, or, if that lake is given up, lake forget.';
  end if;
end $$;

revoke execute on function
  segment_prune_events(date), segment_require_read_committed(), segment_require_exported(text, timestamptz, xid8, bigint)
from public;
grant execute on function segment_prune_events(date) to segment_keeper;

comment on function segment_prune_events(date) is 'Removes the expired events of this UTC day (null: of the time before the first day) with their partition, if every lake has them; returns how many. Raises SG006 where one has not, lock_not_available where they are in use.';
comment on function segment_require_read_committed() is 'Raises unless each statement of the transaction sees what was committed before it.';
comment on function segment_require_exported(text, timestamptz, xid8, bigint) is 'Raises where a partition has expired events of batches beyond a lake''s position.';
