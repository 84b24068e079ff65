-- The default of segment_events.batch_id. Stable, so that COPY keeps its multi-insert, which a bare currval (volatile) would
-- switch off. Not a setting: a session could forge one within its own statement. It is called once a row, so it names its
-- schemas instead of setting search_path.
create function segment_current_batch() returns bigint
language plpgsql stable security definer
as $$
begin
  return pg_catalog.currval('public.segment_batch_id'::pg_catalog.regclass);
end $$;

revoke execute on function segment_current_batch() from public;
grant execute on function segment_current_batch() to segment_loader;

comment on function segment_current_batch() is 'The batch that the running statement''s events belong to.';
