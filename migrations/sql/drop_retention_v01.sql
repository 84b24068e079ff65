drop function
  lake_forget(text), segment_prune_rejects(timestamptz), segment_prune_sources(), segment_prune_outcomes(date),
  segment_prune_events(date), segment_require_exported(text, timestamptz, xid8, bigint), segment_require_read_committed(),
  segment_prunable_days(text, date), segment_day_batches(date), segment_day_partition(text, date), segment_move_horizon(date);
alter table segment_events_older drop constraint if exists segment_events_expired;
alter table segment_sources drop column finished_at;
alter table lake_destinations drop column pruned;
comment on column segment_batches.events is 'How many events it has in segment_events.';
comment on column segment_batches.outcomes is 'How many of them have a row in segment_outcomes; the others are repeats.';

revoke all on segment_alembic_version, segment_settings, lake_destinations, lake_fragments from segment_keeper;
revoke all on schema public from segment_keeper;

do $$
begin
  execute format('revoke all on database %I from segment_keeper', current_database());
end $$;
