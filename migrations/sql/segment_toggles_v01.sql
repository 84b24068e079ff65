create view segment_toggles as
select
  user_id, occurred_at, event_id, vendor, segment_name, value, remove, seq, batch_id, recorded_at,
  outcome, previous_event_id, previous_occurred_at, previous_value
from segment_outcomes
where outcome in ('left', 'rejoined');

grant select on segment_toggles to segment_listener, segment_reader;

comment on view segment_toggles is 'Changes of a status that the user has had before: what the webhook gets. In order of segment_batches.arrival, then seq.';
comment on column segment_toggles.outcome is 'left or rejoined.';
