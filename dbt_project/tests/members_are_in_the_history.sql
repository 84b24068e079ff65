-- A row for each member whose period is not open, and each open period without its member. Whose outcomes are no longer kept has
-- no period.
select user_id, vendor, segment_name, m.since, h.valid_from
from {{ ref('segment_members') }} m
full join (
  select *
  from {{ ref('user_segment_history') }}
  where valid_to is null
) h using (user_id, vendor, segment_name)
where m.since is distinct from h.valid_from
