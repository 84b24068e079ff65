-- A row for each outcome whose event is not there, or is another, and for each event that has several outcomes; with none it is a
-- repeat, which outcomes_equal_the_fold judges. Events from before the horizon are gone rightly.
select o.seq, o.user_id, to_json(o) as found, to_json(e) as expected
from {{ source('segments', 'segment_outcomes') }} o
left join {{ source('segments', 'segment_events') }} e using (user_id, occurred_at, event_id)
left join {{ source('segments', 'segment_batches') }} b on b.batch_id = o.batch_id
where
  (o.seq, o.batch_id, o.vendor, o.segment_name, o.value, o.remove, o.recorded_at)
  is distinct from (e.seq, e.batch_id, e.vendor, e.segment_name, e.value, e.remove, b.recorded_at)
  and o.occurred_at >= coalesce((select horizon from {{ source('segments', 'segment_settings') }}), '-infinity')
union all
select seq, user_id, json_agg(o), null
from {{ source('segments', 'segment_outcomes') }} o
group by seq, user_id
having count(*) > 1
