-- A row for each member whose period is not open, and each open period without its member. Where retention has removed a period's
-- beginning, it begins at the horizon.
select user_id, vendor, segment_name, m.last, h.valid_from
from (
  select *
  from {{ source('segments', 'segment_memberships') }}
  where member
) m
full join (
  select *
  from {{ ref('user_segment_history') }}
  where valid_to is null
) h using (user_id, vendor, segment_name)
where
  m.last is null
  or h.valid_from is null
  or h.valid_from > greatest(m.last, (select horizon from {{ source('segments', 'segment_settings') }}))
