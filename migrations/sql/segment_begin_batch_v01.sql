-- Draws the batch's id, and remembers the first one that this session drew in its transaction: segment_end_batch() looks from
-- there on for events that a statement running inside another one would keep from the reducer. DISCARD SEQUENCES would make the
-- session forget it, even in the middle of a statement; so the transaction also holds a lock that only this function takes.
create function segment_begin_batch() returns void
language plpgsql set search_path = public, pg_temp
as $$
declare
  today constant text := to_char(now() at time zone 'UTC', 'YYYYMMDD');
  this constant bigint := nextval('segment_batch_id');
  xact constant bigint := pg_current_xact_id()::text::bigint;
  known bigint;
begin
  if to_regclass('segment_outcomes_' || today) is null then
    raise exception 'There is no partition for outcomes recorded today (%), so no event can be added.', today
      using errcode = 'SG002',
            hint = 'Run daily: select segment_ensure_partitions(current_date, current_date + 1)';
  end if;

  begin
    known := currval('segment_batch_transaction');
  exception when object_not_in_prerequisite_state then
    -- The session's first batch, or it has forgotten: then the transaction holds the lock already.
    if exists (
      select from pg_locks
      where pid = pg_backend_pid() and relation = 'segment_batches'::regclass and mode = 'RowShareLock'
        and database = (select oid from pg_database where datname = current_database())
    ) then
      raise exception 'Sequences were discarded in a transaction that adds events, so its batches cannot be told apart.'
        using errcode = 'SG003',
              hint = 'Discard sequences between transactions.';
    end if;
  end;
  lock table segment_batches in row share mode;  -- each time: ROLLBACK TO would take a lock away, but not what sequences remember
  if known is distinct from xact then
    perform setval('segment_batch_transaction', xact), setval('segment_batch_floor', this);
  end if;
end $$;

revoke execute on function segment_begin_batch() from public;

comment on function segment_begin_batch() is 'Begins a batch: events added from here on carry its id.';
