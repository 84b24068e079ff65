drop publication segment_changes, segment_toggles;
drop view segment_toggles, segment_event_outcomes;
drop table segment_source_positions, segment_sources, segment_rejects, segment_outcomes, segment_memberships, segment_events, segment_batches, segment_settings;
drop function
  segment_reset(), segment_ensure_partitions(date, date), segment_add_partition(text, text, text, text), segment_refuse_change(),
  segment_events_begin_batch(), segment_events_end_batch(), segment_begin_batch(), segment_end_batch(), segment_reduce(),
  segment_current_batch();
drop sequence segment_batch_floor, segment_batch_transaction, segment_arrival, segment_batch_id, segment_event_seq, segment_reject_id;

revoke all on schema public from segment_owner, segment_loader, segment_listener, segment_reader;

do $$
begin
  execute format('revoke all on database %I from segment_owner, segment_loader, segment_listener, segment_reader', current_database());
end $$;
