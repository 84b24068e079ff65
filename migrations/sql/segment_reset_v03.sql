-- The lakes are forgotten too: their positions are those of batches that are gone. Their marks stay, so that what they hold is not
-- taken for events of what comes after.
create or replace function segment_reset() returns void
language plpgsql security definer set search_path = public, pg_temp
as $$
begin
  perform set_config('segment.erasing', 'on', true);
  truncate
    segment_events, segment_memberships, segment_outcomes, segment_batches, segment_rejects, segment_sources, segment_source_positions,
    lake_destinations, lake_fragments;
  perform set_config('segment.erasing', 'off', true);
  update segment_settings set horizon = null;
  if exists (select from pg_constraint where conname = 'segment_events_expired') then
    alter table segment_events_older drop constraint segment_events_expired;
  end if;
end $$;

comment on function segment_reset() is 'Back to pristine: empties events, memberships, outcomes, batches, rejects and sources, forgets the lakes, and unsets the horizon. The owner''s.';
