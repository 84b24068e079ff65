-- Only the partitions that this transaction wrote to are looked at; without statistics (track_counts off) all.
create function segment_refuse_suppressed(batch bigint) returns void
language plpgsql set search_path = public, pg_temp
as $$
declare
  partition regclass;
  looked_at boolean := false;
begin
  perform pg_advisory_xact_lock_shared(hashtextextended('pgsegments suppressions', 0));
  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
    perform from segment_suppression_key for share;  -- an older snapshot may lack who was put on the list: this fails then
  end if;
  if not exists (select from segment_suppressions) or exists (select from segment_suppressions where leaving = pg_current_xact_id()) then
    return;
  end if;
  for partition in
    select inhrelid::regclass from pg_inherits
    where inhparent = 'segment_events'::regclass and pg_stat_get_xact_tuples_inserted(inhrelid) > 0
  loop
    looked_at := true;
    perform segment_refuse_suppressed_in(partition, batch);
  end loop;
  if not looked_at then
    perform segment_refuse_suppressed_in('segment_events', batch);
  end if;
end $$;

create function segment_refuse_suppressed_in(events regclass, batch bigint) returns void
language plpgsql set search_path = public, pg_temp
as $$
declare
  users text[];
begin
  execute format('select array(select distinct user_id from %s where batch_id = $1)', events) into users using batch;
  if segment_suppressed(users) <> '{}' then
    raise exception 'Events of a user who has been erased are not taken, so nothing was added.'
      using errcode = 'SG009',
            hint = 'Leave them out; the loader does, and counts them.';
  end if;
end $$;

revoke execute on function segment_refuse_suppressed(bigint), segment_refuse_suppressed_in(regclass, bigint) from public;

comment on function segment_refuse_suppressed(bigint) is 'Raises where the batch has events of a user who has been erased.';
comment on function segment_refuse_suppressed_in(regclass, bigint) is 'Raises where the batch has, in this table, events of a user who has been erased.';
