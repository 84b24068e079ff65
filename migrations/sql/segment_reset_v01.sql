create function segment_reset() returns void
language plpgsql security definer set search_path = public, pg_temp
as $$
begin
  perform set_config('segment.erasing', 'on', true);
  truncate segment_events, segment_memberships, segment_outcomes, segment_batches, segment_rejects, segment_sources, segment_source_positions;
  perform set_config('segment.erasing', 'off', true);
  update segment_settings set horizon = null;
end $$;

revoke execute on function segment_reset() from public;

comment on function segment_reset() is 'Back to pristine: empties events, memberships, outcomes, batches, rejects and sources, and unsets the horizon. The owner''s.';
