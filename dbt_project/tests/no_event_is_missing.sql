-- A row for each key that has had more events than are there. Once retention has moved the horizon that is as it should be (see
-- keys_left_out), but not that a newest event from after the horizon is missing.
select m.*, e.events as found_events
from {{ source('segments', 'segment_memberships') }} m
left join (
  select user_id, vendor, segment_name, count(*) as events, max(occurred_at) as last
  from {{ source('segments', 'segment_events') }}
  group by user_id, vendor, segment_name
) e using (user_id, vendor, segment_name)
where
  m.events > coalesce(e.events, 0)
  and (
    (select horizon from {{ source('segments', 'segment_settings') }}) is null
    or (m.last >= (select horizon from {{ source('segments', 'segment_settings') }}) and m.last is distinct from e.last)
  )
