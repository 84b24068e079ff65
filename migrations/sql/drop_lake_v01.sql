drop table lake_fragments, lake_destinations;
drop index segment_batches_in_order;

revoke all on segment_batches, segment_events, segment_settings, segment_alembic_version from segment_lake;
revoke all on schema public from segment_lake;

do $$
begin
  execute format('revoke all on database %I from segment_lake', current_database());
end $$;
