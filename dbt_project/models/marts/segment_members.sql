-- The period of a membership began with the newest event where that changed the status, else with the latest joined or rejoined of
-- the key, which is looked up by the user's events: a query pays for those rows whose since it asks for.
select
  m.user_id, m.vendor, m.segment_name,
  case
    when m.changed then m.last
    else (
      select max(e.occurred_at)
      from {{ source('segments', 'segment_events') }} e
      join {{ source('segments', 'segment_outcomes') }} o on o.seq = e.seq and o.user_id = e.user_id
      where
        e.user_id = m.user_id and e.vendor = m.vendor and e.segment_name = m.segment_name
        and e.occurred_at between m.first and m.last
        and o.outcome in ('joined', 'rejoined')
    )
  end as since,
  m.first, m.last, m.value
from {{ source('segments', 'segment_memberships') }} m
where m.member
