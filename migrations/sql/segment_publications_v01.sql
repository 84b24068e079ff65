-- Insert only and by the root's name, so that partitions come and go unnoticed; only the columns that a document needs.
create publication segment_toggles for table segment_outcomes (
  seq, batch_id, user_id, occurred_at, event_id, vendor, segment_name, value, remove, outcome,
  previous_event_id, previous_occurred_at, previous_value
) where (outcome in ('left', 'rejoined')) with (publish = 'insert', publish_via_partition_root = true);

create publication segment_changes for table segment_outcomes (
  seq, batch_id, user_id, occurred_at, event_id, vendor, segment_name, value, remove, outcome,
  previous_event_id, previous_occurred_at, previous_value
) where (outcome in ('left', 'rejoined', 'joined', 'absent')) with (publish = 'insert', publish_via_partition_root = true);

comment on publication segment_toggles is 'Toggles: outcomes left and rejoined.';
comment on publication segment_changes is 'Toggles, first adds and first removes.';
