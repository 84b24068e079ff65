-- A row for each member whose period is not open, and each open period without its member. Where the horizon has passed the period's
-- beginning, its outcome may be gone.
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
  or h.valid_from > m.last
  or (h.valid_from is null and (select horizon from {{ source('segments', 'segment_settings') }}) is null)
