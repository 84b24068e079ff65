create view segment_event_outcomes as
select
  e.user_id, e.occurred_at, e.event_id, e.vendor, e.segment_name, e.value, e.remove, e.extra, e.seq, e.batch_id,
  coalesce(o.outcome, 'repeat') as outcome,
  o.previous_event_id, o.previous_occurred_at, o.previous_value
from segment_events e
left join segment_outcomes o on o.seq = e.seq and o.user_id = e.user_id;

grant select on segment_event_outcomes to segment_reader;

comment on view segment_event_outcomes is 'Every event with its outcome: did it change the status, or was it a repeated add or remove?';
comment on column segment_event_outcomes.outcome is 'joined, rejoined, left, absent, late or repeat.';
comment on column segment_event_outcomes.previous_event_id is 'The id of the key''s newest event before this one; null: there was none, or the event is late or a repeat.';
