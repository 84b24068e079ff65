-- Outcomes as they arrived: after joined or rejoined the next of a key that changes the status is left. A period that ended when it
-- began is none. Where retention has removed the outcome that began one, the outcome that ended it, or that the user is a member,
-- still tells of it: such a period begins at the horizon. Then no period is open but a member's: an outcome that retention has
-- removed may have arrived after one that is kept, when it was recorded around midnight.
with changes as (
  select
    o.user_id, o.vendor, o.segment_name, o.outcome, o.occurred_at, s.horizon,
    lead(o.occurred_at) over key as next_at,
    row_number() over key = 1 as is_first
  from {{ source('segments', 'segment_outcomes') }} o
  join {{ source('segments', 'segment_batches') }} b using (batch_id)
  cross join {{ source('segments', 'segment_settings') }} s
  where o.outcome in ('joined', 'rejoined', 'left')
  window key as (partition by o.user_id, o.vendor, o.segment_name order by b.arrival, o.seq)
)

select
  user_id, vendor, segment_name,
  case when outcome = 'left' then horizon else occurred_at end as valid_from,
  case when outcome = 'left' then occurred_at else next_at end as valid_to,
  horizon as complete_since
from changes c
where
  (outcome <> 'left' and next_at is distinct from occurred_at or outcome = 'left' and is_first and occurred_at > horizon)
  and (
    outcome = 'left' or next_at is not null or horizon is null
    or exists (
      select from {{ source('segments', 'segment_memberships') }} m
      where m.user_id = c.user_id and m.vendor = c.vendor and m.segment_name = c.segment_name and m.member
    )
  )
union all
select m.user_id, m.vendor, m.segment_name, s.horizon, null, s.horizon
from {{ source('segments', 'segment_memberships') }} m
cross join {{ source('segments', 'segment_settings') }} s
where
  m.member and s.horizon is not null
  and not exists (
    select from {{ source('segments', 'segment_outcomes') }} o
    where
      o.user_id = m.user_id and o.vendor = m.vendor and o.segment_name = m.segment_name
      and o.outcome in ('joined', 'rejoined', 'left')
  )
