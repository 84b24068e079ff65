-- A row for each event whose outcome is not what the events lead to. A key some of whose events are no longer kept is left out.
select f.user_id, f.vendor, f.segment_name, f.seq, to_json(o) as found, to_json(f) as expected
from {{ ref('segment_fold') }} f
left join {{ source('segments', 'segment_outcomes') }} o using (seq, user_id)
left join {{ source('segments', 'segment_memberships') }} m
  on m.user_id = f.user_id and m.vendor = f.vendor and m.segment_name = f.segment_name
where
  (coalesce(o.outcome, 'repeat'), o.previous_event_id, o.previous_occurred_at, o.previous_value)
  is distinct from (f.outcome, f.previous_event_id, f.previous_occurred_at, f.previous_value)
  and coalesce(m.events, 0) <= f.of_key
