-- One statement reduces a batch, however large: read it, chain the events of keys that have several, fold them into the state,
-- judge each event by the state before it, record what is not a repeat, count the batch.
--
-- Shaped by measurement:
-- * The upsert comes first and returns the state before it. Reading that state beforehand would be a race between loaders.
-- * Keys are upserted in order, so that loaders sharing keys wait for each other instead of deadlocking.
-- * Keys with one event in the batch, three quarters of them, skip the windows.
-- * A plan for this batch, without nested loops: the planner takes the CTEs for one row each.
create function segment_reduce() returns void
language plpgsql
set search_path = public, pg_temp
set timezone = 'UTC'
set jit = off
set work_mem = '64MB'
set plan_cache_mode = force_custom_plan
set enable_nestloop = off
as $$
declare
  this constant bigint := currval('segment_batch_id');
  from_time timestamptz;
  to_time timestamptz;
begin
  -- Only the days that this session wrote to lately, which are the batch's and perhaps some more: with hundreds of partitions
  -- several times as fast. The oldest partition has no lower bound. No statistics (track_counts off): every day.
  select
    coalesce(min(day), '-infinity'),
    case when max(day) > '-infinity' then max(day) + interval '1 day' else 'infinity' end
  into from_time, to_time
  from (
    select coalesce(
      to_date(substring(inhrelid::regclass::text from 'segment_events_([0-9]{8})'), 'YYYYMMDD')::timestamp at time zone 'UTC',
      '-infinity'
    ) as day
    from pg_inherits
    where inhparent = 'segment_events'::regclass and pg_stat_get_xact_tuples_inserted(inhrelid) > 0
  ) written;

  with batch as materialized (
    select
      user_id, vendor, segment_name, seq, occurred_at, event_id, value, remove,
      count(*) over (partition by user_id, vendor, segment_name) as of_key
    from segment_events
    where batch_id = this and occurred_at >= from_time and occurred_at < to_time
  ),

  -- Keys with several events: which are late within the batch, whether one before them added the user …
  ranked as (
    select
      *,
      coalesce(occurred_at < max(occurred_at) over earlier, false) as late,
      coalesce(bool_or(not remove) over earlier, false) as added
    from batch
    where of_key > 1
    window earlier as (
      partition by user_id, vendor, segment_name order by seq rows between unbounded preceding and 1 preceding
    )
  ),

  -- … which event came before, and which is the newest. Late ones are chained among themselves; nobody reads that.
  chain as materialized (
    select
      *,
      lag(occurred_at) over w as previous_at, lag(event_id) over w as previous_id,
      lag(value) over w as previous_value, lag(remove) over w as previous_remove,
      not late and lead(seq) over w is null as newest
    from ranked
    window w as (partition by user_id, vendor, segment_name, late order by seq)
  ),

  -- A key's events in this batch as one. predecessor_at: when the newest one's predecessor in the batch happened.
  folded as (
    select
      user_id, vendor, segment_name, not remove as member, case when not remove then occurred_at end as first,
      occurred_at as last, value, not remove as changed, 1::bigint as events,
      case when value is not null then occurred_at end as value_at, event_id as newest_event_id, value as newest_value,
      null::timestamptz as predecessor_at
    from batch
    where of_key = 1
    union all
    select
      user_id, vendor, segment_name,
      not bool_or(remove) filter (where newest),
      min(occurred_at) filter (where not remove),
      max(occurred_at),
      (array_agg(value order by occurred_at desc, seq desc) filter (where value is not null))[1],
      bool_or(remove is distinct from coalesce(previous_remove, true)) filter (where newest),
      count(*),
      max(occurred_at) filter (where value is not null),
      (array_agg(event_id) filter (where newest))[1],
      max(value) filter (where newest),
      max(previous_at) filter (where newest)
    from chain
    group by user_id, vendor, segment_name
  ),

  -- was_last carries predecessor_at to the conflict: excluded holds only the table's columns. In a new row it means nothing,
  -- which was_event_id, null there, tells.
  upserted as (
    insert into segment_memberships as m (
      user_id, vendor, segment_name, member, first, last, value, changed, events, value_at, newest_event_id, newest_value, was_last
    )
    select * from folded order by user_id, vendor, segment_name
    on conflict (user_id, vendor, segment_name) do update set
      was_last = m.last,
      was_member = m.member,
      was_added = m.first is not null,
      was_event_id = m.newest_event_id,
      was_value = m.newest_value,
      member = case when excluded.last >= m.last then excluded.member else m.member end,
      first = least(m.first, excluded.first),
      last = greatest(m.last, excluded.last),
      value = case when excluded.value_at < m.value_at then m.value else coalesce(excluded.value, m.value) end,
      value_at = greatest(m.value_at, excluded.value_at),
      newest_event_id = case when excluded.last >= m.last then excluded.newest_event_id else m.newest_event_id end,
      newest_value = case when excluded.last >= m.last then excluded.newest_value else m.newest_value end,
      changed = case
        when excluded.last < m.last then m.changed
        when excluded.was_last >= m.last then excluded.changed
        else excluded.member <> m.member
      end,
      events = m.events + excluded.events
    returning
      user_id, vendor, segment_name, was_event_id, was_value, was_member, was_added,
      case when was_event_id is not null then was_last end as was_last
  ),

  -- Each event with the key's newest event before it: the chain's, unless the table has a newer one.
  preceded as (
    select
      seq, user_id, vendor, segment_name, occurred_at, event_id, value, remove,
      coalesce(occurred_at < was_last, false) as late, coalesce(was_added, false) as added,
      was_last as previous_at, was_event_id as previous_id, was_value as previous_value, not was_member as previous_remove
    from batch
    join upserted using (user_id, vendor, segment_name)
    where of_key = 1
    union all
    select
      seq, user_id, vendor, segment_name, occurred_at, event_id, value, remove,
      late or coalesce(occurred_at < was_last, false), added or coalesce(was_added, false),
      case when within then previous_at else was_last end,
      case when within then previous_id else was_event_id end,
      case when within then previous_value else was_value end,
      case when within then previous_remove when was_event_id is not null then not was_member end
    from (
      select
        chain.*, was_event_id, was_value, was_member, was_added, was_last,
        previous_id is not null and coalesce(previous_at >= was_last, true) as within
      from chain
      join upserted using (user_id, vendor, segment_name)
    ) chained
  ),

  judged as (
    select
      *,
      case
        when late then 'late'
        when previous_id is null then case when remove then 'absent' else 'joined' end
        when remove = previous_remove then 'repeat'
        when remove then 'left'
        when added then 'rejoined'
        else 'joined'
      end as outcome
    from preceded
  ),

  recorded as (
    insert into segment_outcomes (
      seq, recorded_at, batch_id, user_id, occurred_at, event_id, vendor, segment_name, value, remove, outcome,
      previous_event_id, previous_occurred_at, previous_value
    )
    select
      seq, now(), this, user_id, occurred_at, event_id, vendor, segment_name, value, remove, outcome,
      case when outcome <> 'late' then previous_id end,
      case when outcome <> 'late' then previous_at end,
      case when outcome <> 'late' then previous_value end
    from judged
    where outcome <> 'repeat'
    order by seq
    returning 1
  )

  -- arrival is drawn when recorded is complete, so while every key of the batch is held: it orders any two batches that share
  -- one. (As a scalar subquery in the select list recorded would run after nextval.) A batch without events is none.
  insert into segment_batches (batch_id, arrival, first_seq, last_seq, events, outcomes)
  select this, nextval('segment_arrival'), first_seq, last_seq, events, outcomes
  from (select min(seq) as first_seq, max(seq) as last_seq, count(*) as events from batch) counted
  cross join (select count(*) as outcomes from recorded) told
  where events > 0;
end $$;

revoke execute on function segment_reduce() from public;

comment on function segment_reduce() is 'Reduces the current batch into memberships, outcomes and a row of segment_batches, in one statement.';
