{{ config(severity='warn') }}

-- The keys of which retention has dropped events: nobody can fold them any more, so the other tests leave them out.
select m.*, e.events as found_events
from {{ source('segments', 'segment_memberships') }} m
left join (
  select user_id, vendor, segment_name, count(*) as events
  from {{ source('segments', 'segment_events') }}
  group by user_id, vendor, segment_name
) e using (user_id, vendor, segment_name)
where
  m.events > coalesce(e.events, 0)
  and (select horizon from {{ source('segments', 'segment_settings') }}) is not null
