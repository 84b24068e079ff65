-- The period of a membership began with the latest joined or rejoined of its key.
select m.user_id, m.vendor, m.segment_name, began.since, m.first, m.last, m.value
from {{ source('segments', 'segment_memberships') }} m
left join (
  select user_id, vendor, segment_name, max(occurred_at) as since
  from {{ source('segments', 'segment_outcomes') }}
  where outcome in ('joined', 'rejoined')
  group by user_id, vendor, segment_name
) began using (user_id, vendor, segment_name)
where m.member
