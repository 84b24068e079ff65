select
  o.user_id, o.vendor, o.segment_name,
  case when o.remove then 'remove' else 'add' end as action,
  o.value, o.occurred_at,
  b.recorded_at as received_at,
  case when o.outcome in ('repeat', 'late') then o.outcome else 'new' end as novelty,
  o.outcome,
  o.outcome in ('joined', 'rejoined', 'left') as changed,
  case o.outcome when 'late' then null when 'repeat' then not o.remove else o.outcome = 'left' end as was_member,
  o.previous_event_id, o.previous_occurred_at, o.previous_value, o.event_id, o.seq, o.batch_id,
  (select horizon from {{ source('segments', 'segment_settings') }}) as complete_since
from {{ source('segments', 'segment_event_outcomes') }} o
join {{ source('segments', 'segment_batches') }} b using (batch_id)
