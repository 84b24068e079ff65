-- A file's events were recorded before it was finished, so they are gone when nothing recorded before that is left. One that was
-- finished after the horizon stays: it may be given to the loader again, and is known then.
create function segment_prune_sources() returns bigint
language plpgsql security definer set search_path = public, pg_temp
as $$
declare
  gone text[];
begin
  with gone_sources as (
    delete from segment_sources s
    where s.finished_at < (select horizon from segment_settings)
      and not exists (select from segment_batches b where b.events > 0 and b.recorded_at <= s.finished_at)
    returning s.source
  )
  select array_agg(source) into gone from gone_sources;
  delete from segment_source_positions p where p.source = any (gone);
  return coalesce(cardinality(gone), 0);
end $$;

create function segment_prune_rejects(until timestamptz) returns bigint
language plpgsql security definer set search_path = public, pg_temp
as $$
declare
  removed bigint;
begin
  with gone as (
    delete from segment_rejects r where r.rejected_at < until returning r.source, r.rejected_at
  ),
  counted as (
    update segment_sources s set rejected = s.rejected - g.n
    from (
      select g.source, count(*) as n
      from gone g
      join segment_sources f on f.source = g.source and g.rejected_at >= f.first_seen_at
      group by g.source
    ) g
    where s.source = g.source
  )
  select count(*) into removed from gone;
  return removed;
end $$;

revoke execute on function segment_prune_sources(), segment_prune_rejects(timestamptz) from public;
grant execute on function segment_prune_sources(), segment_prune_rejects(timestamptz) to segment_keeper;

comment on function segment_prune_sources() is 'Forgets the files that were read to their end and whose events retention has removed; returns how many.';
comment on function segment_prune_rejects(timestamptz) is 'Removes the rejects from before that time; returns how many.';
