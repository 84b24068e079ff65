-- What the events alone say must have happened, computed without the reducer's help: each key's events in order of arrival, what
-- each one did, and the membership after it. A running count tells by which event the status stands (newest) and by which the
-- value (valued); the first event of such a group is that event.
with arrived as (
  select e.user_id, e.vendor, e.segment_name, b.arrival, e.seq, e.event_id, e.occurred_at, e.value, e.remove
  from {{ source('segments', 'segment_events') }} e
  join {{ source('segments', 'segment_batches') }} b using (batch_id)
),

placed as (
  select
    *,
    coalesce(occurred_at < max(occurred_at) over earlier, false) as late,
    coalesce(bool_or(not remove) over earlier, false) as added,
    value is not null and occurred_at >= max(occurred_at) filter (where value is not null) over so_far as sets_value,
    min(occurred_at) filter (where not remove) over so_far as first,
    max(occurred_at) over so_far as last,
    row_number() over so_far as events
  from arrived
  window
    so_far as (partition by user_id, vendor, segment_name order by arrival, seq rows unbounded preceding),
    earlier as (
      partition by user_id, vendor, segment_name order by arrival, seq rows between unbounded preceding and 1 preceding
    )
),

chained as (
  select
    *,
    count(*) filter (where not late) over so_far as newest,
    count(*) filter (where sets_value) over so_far as valued,
    lag(event_id) over same_lateness as previous_event_id,
    lag(occurred_at) over same_lateness as previous_occurred_at,
    lag(value) over same_lateness as previous_value,
    lag(remove) over same_lateness as previous_remove
  from placed
  window
    so_far as (partition by user_id, vendor, segment_name order by arrival, seq rows unbounded preceding),
    same_lateness as (partition by user_id, vendor, segment_name, late order by arrival, seq)
),

judged as (
  select
    *,
    case
      when late then 'late'
      when previous_event_id is null then case when remove then 'absent' else 'joined' end
      when remove = previous_remove then 'repeat'
      when remove then 'left'
      when added then 'rejoined'
      else 'joined'
    end as outcome
  from chained
)

select
  user_id, vendor, segment_name, arrival, seq, event_id, occurred_at, remove, outcome,
  case when outcome not in ('late', 'repeat') then previous_event_id end as previous_event_id,
  case when outcome not in ('late', 'repeat') then previous_occurred_at end as previous_occurred_at,
  case when outcome not in ('late', 'repeat') then previous_value end as previous_value,
  not first_value(remove) over by_newest as member,
  first, last,
  first_value(case when sets_value then value end) over by_valued as value,
  first_value(case when sets_value then occurred_at end) over by_valued as value_at,
  first_value(outcome in ('joined', 'rejoined', 'left')) over by_newest as changed,
  first_value(event_id) over by_newest as newest_event_id,
  first_value(value) over by_newest as newest_value,
  events,
  count(*) over (partition by user_id, vendor, segment_name) as of_key
from judged
window
  by_newest as (partition by user_id, vendor, segment_name, newest order by arrival, seq),
  by_valued as (partition by user_id, vendor, segment_name, valued order by arrival, seq)
