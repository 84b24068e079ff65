-- A query of all segments that asks for no events does not pay for them: the planner leaves out a join whose columns nobody wants.
select
  m.vendor, m.segment_name, m.members, m.ever_members, m.ever_members - m.members as former_members,
  e.events, e.repeats, e.repeats::double precision / e.events as repeat_share
from (
  select vendor, segment_name, count(*) filter (where member) as members, count(first) as ever_members
  from {{ source('segments', 'segment_memberships') }}
  group by vendor, segment_name
) m
left join (
  select vendor, segment_name, count(*) as events, count(*) filter (where outcome = 'repeat') as repeats
  from {{ source('segments', 'segment_event_outcomes') }}
  group by vendor, segment_name
) e using (vendor, segment_name)
