-- A row for each hour and segment in which segment_activity differs from the events of the batches that it has counted. After
-- segment_reset(), or a restore on another server: drop table segment_activity, and dbt run --select segment_activity.
select *
from {{ ref('segment_activity') }} a
full join (
  select
    date_trunc('hour', occurred_at, 'UTC') as hour, vendor, segment_name,
    count(*) filter (where not remove) as adds,
    count(*) filter (where remove) as removes,
    count(*) filter (where outcome = 'repeat') as repeats,
    count(*) filter (where outcome = 'late') as lates,
    count(*) filter (where outcome in ('left', 'rejoined')) as toggles
  from {{ source('segments', 'segment_event_outcomes') }}
  join {{ source('segments', 'segment_batches') }} b using (batch_id)
  where b.xact_id < (select max(counted_to) from {{ ref('segment_activity') }})
  group by 1, 2, 3
) e using (hour, vendor, segment_name)
where
  (a.adds, a.removes, a.repeats, a.lates, a.toggles) is distinct from (e.adds, e.removes, e.repeats, e.lates, e.toggles)
  and hour >= coalesce((select horizon from {{ source('segments', 'segment_settings') }}), '-infinity')
