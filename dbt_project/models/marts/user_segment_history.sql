-- Outcomes as they arrived: after joined or rejoined the next of a key that changes the status is left. A period that ended when it
-- began is none.
select user_id, vendor, segment_name, valid_from, valid_to
from (
  select
    o.user_id, o.vendor, o.segment_name, o.outcome,
    o.occurred_at as valid_from,
    lead(o.occurred_at) over (partition by o.user_id, o.vendor, o.segment_name order by b.arrival, o.seq) as valid_to
  from {{ source('segments', 'segment_outcomes') }} o
  join {{ source('segments', 'segment_batches') }} b using (batch_id)
  where o.outcome in ('joined', 'rejoined', 'left')
) changes
where outcome <> 'left' and valid_to is distinct from valid_from
