-- A row for each membership that the events do not lead to, and each that they lead to and that is not there. A key some of whose
-- events are no longer kept is left out. The was_ columns mean nothing once their batch is over.
select
  coalesce(m.user_id, f.user_id) as user_id, coalesce(m.vendor, f.vendor) as vendor,
  coalesce(m.segment_name, f.segment_name) as segment_name, to_json(m) as found, to_json(f) as expected
from {{ source('segments', 'segment_memberships') }} m
full join (
  select *
  from {{ ref('segment_fold') }}
  where events = of_key
) f using (user_id, vendor, segment_name)
where
  (m.member, m.first, m.last, m.value, m.value_at, m.changed, m.events, m.newest_event_id, m.newest_value)
  is distinct from (f.member, f.first, f.last, f.value, f.value_at, f.changed, f.events, f.newest_event_id, f.newest_value)
  and coalesce(m.events, 0) <= coalesce(f.of_key, 0)
