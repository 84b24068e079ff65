-- The steps of an erasure, in this order: suppress, leave, wait until nobody waits, erase. Each may be done again.
create function segment_leave(erased_user text) returns bigint
language plpgsql security definer set search_path = public, pg_temp set timezone = 'UTC'
as $$
declare
  added bigint;
begin
  perform segment_require_read_committed();
  perform segment_ensure_partitions(current_date, current_date + 1);
  update segment_suppressions set leaving = pg_current_xact_id(), finished_at = null where hash = segment_user_hash(erased_user);
  if not found then
    raise exception 'The user is not suppressed, so they could come back.' using errcode = 'SG008', hint = 'Call segment_suppress() first.';
  end if;

  insert into segment_events (user_id, occurred_at, event_id, vendor, segment_name, remove)
  select m.user_id, greatest(clock_timestamp(), m.last), gen_random_uuid(), m.vendor, m.segment_name, true
  from segment_memberships m
  where m.user_id = erased_user and m.member;
  get diagnostics added = row_count;

  update segment_suppressions
  set
    leaving = null,
    batches = batches + coalesce(
      (select range_agg(int8range(o.batch_id, o.batch_id, '[]')) from segment_outcomes o where o.user_id = erased_user), '{}'
    )
  where hash = segment_user_hash(erased_user);
  return added;
end $$;

-- Not only the leaving: an older toggle that a listener has yet to deliver from the tables must not go either.
create function segment_leave_awaited(erased_user text) returns text[]
language sql stable security definer set search_path = public, pg_temp
as $$
  select array(
    select c.slot
    from webhook_cursors c
    where exists (
      select from segment_suppressions s
      cross join unnest(s.batches) r (ids)
      join segment_batches b on b.batch_id >= lower(r.ids) and b.batch_id < upper(r.ids)
      where s.hash = segment_user_hash(erased_user) and pg_visible_in_snapshot(b.xact_id, c.base) is not true
    )
    order by c.slot
  )
$$;

-- A batch that is left with nothing goes; one that retention keeps for its outcomes stays.
create function segment_erase_user(erased_user text, out events bigint, out outcomes bigint, out memberships bigint, out dead_letters bigint)
language plpgsql security definer set search_path = public, pg_temp set jit = off
as $$
declare
  touched bigint[];
begin
  perform segment_require_read_committed();
  perform from segment_memberships m where m.user_id = erased_user for update;
  if exists (select from segment_memberships m where m.user_id = erased_user and m.member) or segment_leave_awaited(erased_user) <> '{}' then
    raise exception 'The user is a member still, or a listener has not delivered that they left.'
      using errcode = 'SG006',
            hint = 'Call segment_leave(), and wait until segment_leave_awaited() is empty.';
  end if;

  update segment_suppressions s
  set
    batches = s.batches + coalesce(
      (select range_agg(int8range(e.batch_id, e.batch_id, '[]')) from segment_events e where e.user_id = erased_user), '{}'
    ),
    everywhere = (select horizon is not null from segment_settings)
  where s.hash = segment_user_hash(erased_user);

  perform set_config('segment.erasing', 'on', true);
  with gone as (
    delete from segment_outcomes o where o.user_id = erased_user returning o.batch_id
  ),
  counted as (
    update segment_batches b set outcomes = b.outcomes - g.n
    from (select batch_id, count(*) as n from gone group by batch_id) g
    where b.batch_id = g.batch_id
  )
  select count(*) into outcomes from gone;

  with gone as (
    delete from segment_events e where e.user_id = erased_user returning e.batch_id, e.seq
  ),
  counted as (
    update segment_batches b set events = b.events - g.n
    from (select batch_id, count(*) as n from gone group by batch_id) g
    where b.batch_id = g.batch_id
  )
  select count(*), array_agg(distinct batch_id) into events, touched from gone;

  update segment_batches b
  set first_seq = e.first_seq, last_seq = e.last_seq
  from (
    select n.batch_id, min(n.seq) as first_seq, max(n.seq) as last_seq
    from segment_events n
    where n.batch_id = any (touched)
    group by n.batch_id
  ) e
  where b.batch_id = e.batch_id and (b.first_seq, b.last_seq) is distinct from (e.first_seq, e.last_seq)
    and (select horizon from segment_settings) is null;

  delete from segment_batches b
  using segment_suppressions s
  where s.hash = segment_user_hash(erased_user) and b.batch_id <@ s.batches and b.events = 0 and b.outcomes = 0;
  perform set_config('segment.erasing', 'off', true);

  delete from segment_memberships m where m.user_id = erased_user;
  get diagnostics memberships = row_count;
  delete from webhook_dead_letters l where l.document::jsonb ->> 'user' = erased_user;
  get diagnostics dead_letters = row_count;
  update webhook_dead_letters l set answer = 'Not kept: it named a user who was erased.'
  where position(erased_user in l.answer) > 0 or position(btrim(to_json(erased_user)::text, '"') in l.answer) > 0;
  update webhook_cursors c set answer = null
  where position(erased_user in c.answer) > 0 or position(btrim(to_json(erased_user)::text, '"') in c.answer) > 0;
end $$;

create function segment_erase_rejects(numbers bigint[]) returns bigint
language plpgsql security definer set search_path = public, pg_temp
as $$
declare
  removed bigint;
begin
  with gone as (
    delete from segment_rejects r where r.reject_id = any (numbers) returning r.source, r.rejected_at
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

create function segment_erasure_files(erased_user text, lake text) returns setof text
language sql stable security definer set search_path = public, pg_temp
as $$
  select f.path
  from lake_fragments f
  join segment_suppressions s on s.hash = segment_user_hash(erased_user) and (s.everywhere or s.batches && f.batches)
  where f.destination = lake and f.written_at is not null
  order by f.path
$$;

-- What the lake has and the tables no longer is counted anew: of what went from its files part had gone from the tables before.
create function lake_recount(lake text) returns void
language sql security definer set search_path = public, pg_temp
as $$
  update lake_destinations d
  set pruned = (
    select coalesce(sum(f.rows), 0) from lake_fragments f where f.destination = d.destination and f.written_at is not null
  ) - (
    select coalesce(sum(b.events), 0) from segment_batches b where (b.xact_id, b.batch_id) <= (d.xact_id, d.batch_id)
  )
  where d.destination = lake
$$;

create function segment_erasure_finished(erased_user text) returns void
language sql security definer set search_path = public, pg_temp
as $$ update segment_suppressions set finished_at = now() where hash = segment_user_hash(erased_user) $$;

-- The planner's statistics name frequent users, and their values.
create function segment_erase_statistics() returns void
language plpgsql security definer set search_path = public, pg_temp
as $$
begin
  analyze segment_events, segment_outcomes, segment_memberships, segment_rejects, webhook_dead_letters;
end $$;

revoke execute on function
  segment_leave(text), segment_leave_awaited(text), segment_erase_user(text), segment_erase_rejects(bigint[]),
  segment_erasure_files(text, text), lake_recount(text), segment_erasure_finished(text), segment_erase_statistics()
from public;
grant execute on function
  segment_leave(text), segment_leave_awaited(text), segment_erase_user(text), segment_erase_rejects(bigint[]),
  segment_erasure_files(text, text), lake_recount(text), segment_erasure_finished(text), segment_erase_statistics()
to segment_keeper;

comment on function segment_leave(text) is 'Removes a suppressed user from each segment that they are in, in one batch; returns from how many. The time is now, or the key''s last where that is later.';
comment on function segment_leave_awaited(text) is 'The slots whose listeners have not delivered yet, or not said so, what the user did, up to their leaving.';
comment on function segment_erase_user(text) is 'Removes a suppressed user''s events, outcomes, memberships and dead letters; returns how many. Raises SG006 before the user has left and every listener has delivered that.';
comment on function segment_erase_rejects(bigint[]) is 'Removes these rejects; returns how many there were.';
comment on function segment_erasure_files(text, text) is 'The files of a lake that may have events of the user.';
comment on function lake_recount(text) is 'Counts anew how many events the lake has that the tables no longer do.';
comment on function segment_erasure_finished(text) is 'Records that the user is gone everywhere.';
comment on function segment_erase_statistics() is 'Makes the planner''s statistics of users anew.';
