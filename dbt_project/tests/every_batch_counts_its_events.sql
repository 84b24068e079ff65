-- A row for each batch whose events or outcomes are not as many as it says, or that is not there. Retention, which moves the
-- horizon, may leave fewer.
select b.*, e.events as found_events, o.outcomes as found_outcomes
from {{ source('segments', 'segment_batches') }} b
full join (
  select batch_id, count(*) as events, min(seq) as first_seq, max(seq) as last_seq
  from {{ source('segments', 'segment_events') }}
  group by batch_id
) e using (batch_id)
full join (
  select batch_id, count(*) as outcomes
  from {{ source('segments', 'segment_outcomes') }}
  group by batch_id
) o using (batch_id)
where
  b.batch_id is null
  or e.events > b.events
  or o.outcomes > b.outcomes
  or (
    (b.events, b.first_seq, b.last_seq, b.outcomes) is distinct from (e.events, e.first_seq, e.last_seq, coalesce(o.outcomes, 0))
    and (select horizon from {{ source('segments', 'segment_settings') }}) is null
  )
