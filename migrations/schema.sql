CREATE FUNCTION public.lake_forget(lake text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  delete from lake_fragments f where f.destination = lake;
  delete from lake_destinations d where d.destination = lake;
  return found;
end $$;

ALTER FUNCTION public.lake_forget(lake text) OWNER TO segment_owner;

COMMENT ON FUNCTION public.lake_forget(lake text) IS 'Forgets a lake, whose files stay where they are, so that retention waits for it no longer; false: it is not known.';

CREATE FUNCTION public.lake_recount(lake text) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
  update lake_destinations d
  set pruned = (
    select coalesce(sum(f.rows), 0) from lake_fragments f where f.destination = d.destination and f.written_at is not null
  ) - (
    select coalesce(sum(b.events), 0) from segment_batches b where (b.xact_id, b.batch_id) <= (d.xact_id, d.batch_id)
  )
  where d.destination = lake
$$;

ALTER FUNCTION public.lake_recount(lake text) OWNER TO segment_owner;

COMMENT ON FUNCTION public.lake_recount(lake text) IS 'Counts anew how many events the lake has that the tables no longer do.';

CREATE FUNCTION public.segment_add_partition(parent text, partition text, lower text, upper text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  execute format('create table %I (like %I including all)', partition, parent);
  execute format('create trigger %I before insert or update or delete or truncate on %I for each statement execute function segment_refuse_change()', parent || '_0_append_only', partition);
  execute format('comment on table %I is %L', partition, format('A partition of %s; never named directly.', parent));
  execute format('alter table %I attach partition %I for values from (%s) to (%s)', parent, partition, lower, upper);
end $$;

ALTER FUNCTION public.segment_add_partition(parent text, partition text, lower text, upper text) OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_add_partition(parent text, partition text, lower text, upper text) IS 'Adds a partition of segment_events or segment_outcomes for the bounds given.';

CREATE FUNCTION public.segment_adopt() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
declare
  last_id bigint;
begin
  update segment_settings s
  set system_identifier = this.system_identifier
  from pg_control_system() this
  where s.system_identifier <> this.system_identifier;
  if not found then
    return;
  end if;
  lock table segment_batches, webhook_cursors, webhook_delivered, lake_destinations in share row exclusive mode;

  with bound as (
    select xact_id, batch_id from lake_destinations
    union
    select until_xact_id, until_batch_id from lake_destinations where until_xact_id is not null
  ),

  judged as (
    select
      b.batch_id, b.xact_id as old_id,
      (select count(*) from bound p where (p.xact_id, p.batch_id) < (b.xact_id, b.batch_id)) as lacking,
      array(select coalesce(pg_visible_in_snapshot(b.xact_id, c.base), false) from webhook_cursors c order by c.slot) as seen
    from segment_batches b
  ),

  class as materialized (select *, 2 + dense_rank() over (order by lacking, seen) as new_id from judged),

  ending as (select coalesce(max(new_id), 2) + 1 as new_id from class),

  base as (
    select c.slot, format('%s:%s:%s', coalesce(min(u.new_id), e.new_id), e.new_id, string_agg(u.new_id::text, ',' order by u.new_id)) as made
    from (select slot, row_number() over (order by slot) as n from webhook_cursors) c
    cross join ending e
    left join (select distinct new_id, seen from class) u on not u.seen[c.n]
    group by c.slot, e.new_id
  ),

  batches as (
    update segment_batches b set xact_id = c.new_id::text::xid8 from class c where b.batch_id = c.batch_id
  ),

  cursors as (
    update webhook_cursors c
    set
      base = case when c.base is not null then b.made::pg_snapshot end,
      lsn = case when c.lsn is not null and c.base is null and c.past in ('none', 'done') then '0/0'::pg_lsn end,
      commit_lsn = null,
      documents = 0,
      past = case when c.base is not null or c.past = 'begun' then 'wanted' else c.past end,
      past_snapshot = case when c.base is null and c.past = 'done' then c.past_snapshot end,
      version = c.version + 1,
      writer = null
    from base b
    where b.slot = c.slot
  ),

  lakes as (
    update lake_destinations d
    set
      system_identifier = s.system_identifier,
      xact_id = coalesce(at.new_id, 0)::text::xid8,
      batch_id = coalesce(at.batch_id, d.batch_id),
      until_xact_id = case when d.until_xact_id is not null then coalesce(until.new_id, 0)::text::xid8 end,
      until_batch_id = case when d.until_xact_id is not null then coalesce(until.batch_id, d.until_batch_id) end
    from lake_destinations old
    cross join pg_control_system() s
    left join lateral (
      select c.new_id, c.batch_id from class c where (c.old_id, c.batch_id) <= (old.xact_id, old.batch_id) order by 1 desc, 2 desc limit 1
    ) at on true
    left join lateral (
      select c.new_id, c.batch_id from class c
      where (c.old_id, c.batch_id) <= (old.until_xact_id, old.until_batch_id) order by 1 desc, 2 desc limit 1
    ) until on true
    where old.destination = d.destination
  )

  select new_id - 1 into last_id from ending;

  if last_id::text::xid8 >= pg_snapshot_xmin(pg_current_snapshot()) then
    raise exception 'The server has given too few transaction ids to set those of the dump below them all.'
      using errcode = 'SG005',
            hint = format('Adopt again once it has given those up to %s, as by select pg_current_xact_id(), each in its own transaction.', last_id);
  end if;
end $$;

ALTER FUNCTION public.segment_adopt() OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_adopt() IS 'After a dump was restored on another server, or pg_upgrade: rewrites what is kept in terms of transaction ids, so that each listener and each lake goes on with exactly what it had not done, and records this server in segment_settings. On the server that is recorded it does nothing. The owner''s.';

CREATE FUNCTION public.segment_begin_batch() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
declare
  today constant text := to_char(now() at time zone 'UTC', 'YYYYMMDD');
  this constant bigint := nextval('segment_batch_id');
  xact constant bigint := pg_current_xact_id()::text::bigint;
  known bigint;
begin
  if to_regclass('segment_outcomes_' || today) is null then
    raise exception 'There is no partition for outcomes recorded today (%), so no event can be added.', today
      using errcode = 'SG002',
            hint = 'Run daily: select segment_ensure_partitions(current_date, current_date + 1)';
  end if;

  begin
    known := currval('segment_batch_transaction');
  exception when object_not_in_prerequisite_state then
    -- The session's first batch, or it has forgotten: then the transaction holds the lock already.
    if exists (
      select from pg_locks
      where pid = pg_backend_pid() and relation = 'segment_batches'::regclass and mode = 'RowShareLock'
        and database = (select oid from pg_database where datname = current_database())
    ) then
      raise exception 'Sequences were discarded in a transaction that adds events, so its batches cannot be told apart.'
        using errcode = 'SG003',
              hint = 'Discard sequences between transactions.';
    end if;
  end;
  lock table segment_batches in row share mode;  -- each time: ROLLBACK TO would take a lock away, but not what sequences remember
  if known is distinct from xact then
    perform setval('segment_batch_transaction', xact), setval('segment_batch_floor', this);
  end if;
end $$;

ALTER FUNCTION public.segment_begin_batch() OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_begin_batch() IS 'Begins a batch: events added from here on carry its id.';

CREATE FUNCTION public.segment_current_batch() RETURNS bigint
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    AS $$
begin
  return pg_catalog.currval('public.segment_batch_id'::pg_catalog.regclass);
end $$;

ALTER FUNCTION public.segment_current_batch() OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_current_batch() IS 'The batch that the running statement''s events belong to.';

CREATE FUNCTION public.segment_day_batches(day date) RETURNS int8multirange
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
declare
  found_batches int8multirange;
begin
  execute format(
    'select range_agg(int8range(batch_id, batch_id, ''[]'')) from (select distinct batch_id from %I) b',
    segment_day_partition('segment_events', day)
  ) into found_batches;
  return coalesce(found_batches, '{}');
end $$;

ALTER FUNCTION public.segment_day_batches(day date) OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_day_batches(day date) IS 'The batches that have events of this UTC day; null: of the time before the first day.';

CREATE FUNCTION public.segment_day_partition(parent text, day date) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$ select coalesce(parent || '_' || to_char(day, 'YYYYMMDD'), parent || '_older') $$;

ALTER FUNCTION public.segment_day_partition(parent text, day date) OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_day_partition(parent text, day date) IS 'The name of the day''s partition; null: that of everything before the first day.';

CREATE FUNCTION public.segment_end_batch() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
declare
  this constant bigint := currval('segment_batch_id');
  first_id constant bigint := currval('segment_batch_floor');
  unreduced bigint[];
begin
  if first_id < this then
    unreduced := array(
      select id from generate_series(first_id, this - 1) as earlier (id)
      where not exists (select from segment_batches where batch_id = id) order by id
    );
    -- Asked once more with the events, in one snapshot: another session may have committed some of these batches meanwhile.
    if unreduced <> '{}' and exists (
      select from segment_events e
      where e.batch_id = any (unreduced) and not exists (select from segment_batches b where b.batch_id = e.batch_id)
    ) then
      raise exception 'Events were added from within a statement that adds events, so they cannot be told apart as batches.'
        using errcode = 'SG003',
              hint = 'Add the events in statements of their own, one after the other.';
    end if;
    perform setval('segment_batch_floor', coalesce(unreduced[1], this));
  end if;

  perform segment_refuse_suppressed(this);
  perform segment_reduce();
end $$;

ALTER FUNCTION public.segment_end_batch() OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_end_batch() IS 'Ends the batch that segment_begin_batch() began, and reduces it.';

CREATE FUNCTION public.segment_ensure_partitions(first_day date, last_day date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    AS $$
#variable_conflict use_variable
declare
  since constant date := (select greatest(first_day, s.first_day, s.horizon::date) from segment_settings s);
  needed record;
begin
  if first_day is null or last_day is null or last_day > '9999-12-31' or last_day - since > 1000 then
    raise exception 'Partitions cannot be made from % to %: both days are needed, and at most 1000 days at once.', first_day, last_day
      using errcode = 'SG004',
            hint = 'Ask for the days that the events need, in several calls.';
  end if;

  for needed in
    select parent, day, format('%s_%s', parent, to_char(day, 'YYYYMMDD')) as name
    from (
      select 'segment_events' as parent, generate_series(since, last_day, '1 day')::date as day
      union all
      select 'segment_outcomes', generate_series(current_date, current_date + 1, '1 day')::date
    ) days
    where to_regclass(format('%s_%s', parent, to_char(day, 'YYYYMMDD'))) is null
    order by 1, 2
  loop
    execute format('lock table only %I in share update exclusive mode', needed.parent);
    if to_regclass(needed.name) is null then
      perform segment_add_partition(
        needed.parent, needed.name, quote_literal(needed.day::timestamptz), quote_literal((needed.day + 1)::timestamptz)
      );
    end if;
  end loop;
end $$;

ALTER FUNCTION public.segment_ensure_partitions(first_day date, last_day date) OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_ensure_partitions(first_day date, last_day date) IS 'Makes the partitions for events of these UTC days, both included, but for those before the horizon, and for outcomes of today and tomorrow, where they are missing. The loader calls it; who loads by plain SQL alone calls it daily.';

CREATE FUNCTION public.segment_erase_rejects(numbers bigint[]) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
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

ALTER FUNCTION public.segment_erase_rejects(numbers bigint[]) OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_erase_rejects(numbers bigint[]) IS 'Removes these rejects; returns how many there were.';

CREATE FUNCTION public.segment_erase_statistics() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  analyze segment_events, segment_outcomes, segment_memberships, segment_rejects, webhook_dead_letters;
end $$;

ALTER FUNCTION public.segment_erase_statistics() OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_erase_statistics() IS 'Makes the planner''s statistics of users anew.';

CREATE FUNCTION public.segment_erase_user(erased_user text, OUT events bigint, OUT outcomes bigint, OUT memberships bigint, OUT dead_letters bigint) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET jit TO 'off'
    AS $$
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

ALTER FUNCTION public.segment_erase_user(erased_user text, OUT events bigint, OUT outcomes bigint, OUT memberships bigint, OUT dead_letters bigint) OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_erase_user(erased_user text, OUT events bigint, OUT outcomes bigint, OUT memberships bigint, OUT dead_letters bigint) IS 'Removes a suppressed user''s events, outcomes, memberships and dead letters; returns how many. Raises SG006 before the user has left and every listener has delivered that.';

CREATE FUNCTION public.segment_erasure_files(erased_user text, lake text) RETURNS SETOF text
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
  select f.path
  from lake_fragments f
  join segment_suppressions s on s.hash = segment_user_hash(erased_user) and (s.everywhere or s.batches && f.batches)
  where f.destination = lake and f.written_at is not null
  order by f.path
$$;

ALTER FUNCTION public.segment_erasure_files(erased_user text, lake text) OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_erasure_files(erased_user text, lake text) IS 'The files of a lake that may have events of the user.';

CREATE FUNCTION public.segment_erasure_finished(erased_user text) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$ update segment_suppressions set finished_at = now() where hash = segment_user_hash(erased_user) $$;

ALTER FUNCTION public.segment_erasure_finished(erased_user text) OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_erasure_finished(erased_user text) IS 'Records that the user is gone everywhere.';

CREATE FUNCTION public.segment_events_begin_batch() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  perform segment_begin_batch();
  return null;
end $$;

ALTER FUNCTION public.segment_events_begin_batch() OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_events_begin_batch() IS 'Trigger: begins a batch with the owner''s rights.';

CREATE FUNCTION public.segment_events_end_batch() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  perform segment_end_batch();
  return null;
end $$;

ALTER FUNCTION public.segment_events_end_batch() OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_events_end_batch() IS 'Trigger: ends and reduces the batch with the owner''s rights.';

CREATE FUNCTION public.segment_leave(erased_user text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    AS $$
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

ALTER FUNCTION public.segment_leave(erased_user text) OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_leave(erased_user text) IS 'Removes a suppressed user from each segment that they are in, in one batch; returns from how many. The time is now, or the key''s last where that is later.';

CREATE FUNCTION public.segment_leave_awaited(erased_user text) RETURNS text[]
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
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

ALTER FUNCTION public.segment_leave_awaited(erased_user text) OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_leave_awaited(erased_user text) IS 'The slots whose listeners have not delivered yet, or not said so, what the user did, up to their leaving.';

CREATE FUNCTION public.segment_move_horizon(until date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET lock_timeout TO '1s'
    AS $$
begin
  if until is null or until >= current_date then
    raise exception 'The horizon cannot be moved to %: events of today and of what is to come are always taken.', until
      using errcode = 'SG008',
            hint = 'Keep a day at least.';
  end if;
  if until::timestamptz <= (select horizon from segment_settings) then
    return;
  end if;

  lock table segment_events_older in access exclusive mode;
  update segment_settings set horizon = until;
  alter table segment_events_older drop constraint if exists segment_events_expired;
  execute format(
    'alter table segment_events_older add constraint segment_events_expired check (occurred_at >= %L) not valid', until::timestamptz
  );
  comment on constraint segment_events_expired on segment_events_older is 'Events older than the horizon are refused.';
end $$;

ALTER FUNCTION public.segment_move_horizon(until date) OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_move_horizon(until date) IS 'From now on events from before this UTC day are refused as expired. The horizon is never moved back.';

CREATE FUNCTION public.segment_prunable_days(parent text, until date) RETURNS SETOF date
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $_$
  select to_date(right(c.relname, 8), 'YYYYMMDD') as day
  from pg_inherits i
  join pg_class c on c.oid = i.inhrelid
  where i.inhparent = parent::regclass and c.relname ~ '_[0-9]{8}$' and to_date(right(c.relname, 8), 'YYYYMMDD') < until
  order by 1
$_$;

ALTER FUNCTION public.segment_prunable_days(parent text, until date) OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_prunable_days(parent text, until date) IS 'The UTC days before this one that have a partition of segment_events or segment_outcomes, the oldest first.';

CREATE FUNCTION public.segment_prune_events(day date) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET lock_timeout TO '1s'
    SET jit TO 'off'
    AS $_$
declare
  partition constant text := segment_day_partition('segment_events', day);
  until constant timestamptz := (select horizon from segment_settings);
  whole constant boolean := until >= coalesce(day + 1, (select first_day from segment_settings))::timestamptz;
  last_xact xid8;
  last_batch bigint;
  batches bigint[];
  counts bigint[];
  total bigint;
begin
  perform segment_require_read_committed();
  if to_regclass(partition) is null then
    return 0;  -- they went, and who called had not heard of it
  end if;
  if until is null or not (whole or day is null) then
    raise exception 'The events of % are not expired.', day using errcode = 'SG008', hint = 'Move the horizon first.';
  end if;
  select d.xact_id, d.batch_id into last_xact, last_batch from lake_destinations d order by d.xact_id, d.batch_id limit 1;
  if not found then
    raise exception 'No lake has these events.' using errcode = 'SG006', hint = 'Run lake export first.';
  end if;

  perform segment_require_exported(partition, until, last_xact, last_batch);
  execute format(
    'select array_agg(batch_id), array_agg(n), coalesce(sum(n), 0) from (
      select batch_id, count(*) as n from %I where occurred_at < $1 group by batch_id
    ) c', partition
  ) into batches, counts, total using until;
  update segment_batches b set events = b.events - c.n from unnest(batches, counts) c (batch_id, n) where b.batch_id = c.batch_id;

  if day is not null then
    lock table only segment_events in access exclusive mode;
  end if;
  execute format('lock table %I in access exclusive mode', partition);
  perform segment_require_exported(partition, until, last_xact, last_batch);
  update lake_destinations d set pruned = d.pruned + total
  where total > 0 and (d.xact_id, d.batch_id) >= (last_xact, last_batch);  -- not one that began meanwhile, which never gets them
  perform set_config('segment.erasing', 'on', true);
  if day is not null then
    execute format('drop table %I', partition);
  elsif whole then
    execute format('truncate %I', partition);
  else
    execute format('delete from %I where occurred_at < $1', partition) using until;
  end if;
  perform set_config('segment.erasing', 'off', true);
  return total;
end $_$;

ALTER FUNCTION public.segment_prune_events(day date) OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_prune_events(day date) IS 'Removes the expired events of this UTC day (null: of the time before the first day) with their partition, if every lake has them; returns how many. Raises SG006 where one has not, lock_not_available where they are in use.';

CREATE FUNCTION public.segment_prune_outcomes(day date, OUT outcomes bigint, OUT batches bigint) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET lock_timeout TO '1s'
    SET jit TO 'off'
    AS $$
declare
  partition constant text := segment_day_partition('segment_outcomes', day);
  slots text;
begin
  perform segment_require_read_committed();
  outcomes := 0;
  batches := 0;
  if to_regclass(partition) is null then
    return;  -- they went, and who called had not heard of it
  end if;
  if day >= current_date or day > (select min(d) from segment_prunable_days('segment_outcomes', current_date) d) then
    raise exception 'Outcomes of % are not the oldest.', day using errcode = 'SG008', hint = 'Days go in their order.';
  end if;

  lock table only segment_outcomes in access exclusive mode;
  if exists (select from segment_batches b where b.recorded_at >= day and b.recorded_at < day + 1 and b.events > 0) then
    outcomes := null;
    batches := null;
    return;
  end if;
  select string_agg(c.slot, ', ' order by c.slot) into slots
  from webhook_cursors c
  where exists (
    select from segment_batches b
    where b.recorded_at >= day and b.recorded_at < day + 1 and b.outcomes > 0
      and pg_visible_in_snapshot(b.xact_id, c.base) is not true
  );
  if slots is not null then
    raise exception 'The listener of the slot % has not delivered all toggles of that day, or not said so yet.', slots
      using errcode = 'SG006',
            hint = 'Run it, or, if that webhook is given up, listener drop.';
  end if;

  execute format('select count(*) from %I', partition) into outcomes;
  execute format('lock table %I in access exclusive mode', partition);
  perform set_config('segment.erasing', 'on', true);
  execute format('drop table %I', partition);
  delete from segment_batches b where b.recorded_at >= day and b.recorded_at < day + 1;
  get diagnostics batches = row_count;
  perform set_config('segment.erasing', 'off', true);
end $$;

ALTER FUNCTION public.segment_prune_outcomes(day date, OUT outcomes bigint, OUT batches bigint) OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_prune_outcomes(day date, OUT outcomes bigint, OUT batches bigint) IS 'Removes the outcomes that were recorded on this UTC day with their partition, and its batches, if their events are gone; returns how many, nulls where events of them are kept. Raises SG006 where a listener has not delivered them, lock_not_available where they are in use.';

CREATE FUNCTION public.segment_prune_rejects(until timestamp with time zone) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
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

ALTER FUNCTION public.segment_prune_rejects(until timestamp with time zone) OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_prune_rejects(until timestamp with time zone) IS 'Removes the rejects from before that time; returns how many.';

CREATE FUNCTION public.segment_prune_sources() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
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

ALTER FUNCTION public.segment_prune_sources() OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_prune_sources() IS 'Forgets the files that were read to their end and whose events retention has removed; returns how many.';

CREATE FUNCTION public.segment_reduce() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET jit TO 'off'
    SET work_mem TO '64MB'
    SET plan_cache_mode TO 'force_custom_plan'
    SET enable_nestloop TO 'off'
    AS $$
declare
  this constant bigint := currval('segment_batch_id');
  from_time timestamptz;
  to_time timestamptz;
begin
  -- Only the days that this session wrote to lately, which are the batch's and perhaps some more: with hundreds of partitions
  -- several times as fast. The oldest partition has no lower bound. No statistics (track_counts off): every day.
  select
    coalesce(min(day), '-infinity'),
    case when max(day) > '-infinity' then max(day) + interval '1 day' else 'infinity' end
  into from_time, to_time
  from (
    select coalesce(
      to_date(substring(inhrelid::regclass::text from 'segment_events_([0-9]{8})'), 'YYYYMMDD')::timestamp at time zone 'UTC',
      '-infinity'
    ) as day
    from pg_inherits
    where inhparent = 'segment_events'::regclass and pg_stat_get_xact_tuples_inserted(inhrelid) > 0
  ) written;

  with batch as materialized (
    select
      user_id, vendor, segment_name, seq, occurred_at, event_id, value, remove,
      count(*) over (partition by user_id, vendor, segment_name) as of_key
    from segment_events
    where batch_id = this and occurred_at >= from_time and occurred_at < to_time
  ),

  -- Keys with several events: which are late within the batch, whether one before them added the user …
  ranked as (
    select
      *,
      coalesce(occurred_at < max(occurred_at) over earlier, false) as late,
      coalesce(bool_or(not remove) over earlier, false) as added
    from batch
    where of_key > 1
    window earlier as (
      partition by user_id, vendor, segment_name order by seq rows between unbounded preceding and 1 preceding
    )
  ),

  -- … which event came before, and which is the newest. Late ones are chained among themselves; nobody reads that.
  chain as materialized (
    select
      *,
      lag(occurred_at) over w as previous_at, lag(event_id) over w as previous_id,
      lag(value) over w as previous_value, lag(remove) over w as previous_remove,
      not late and lead(seq) over w is null as newest
    from ranked
    window w as (partition by user_id, vendor, segment_name, late order by seq)
  ),

  -- A key's events in this batch as one. predecessor_at: when the newest one's predecessor in the batch happened.
  folded as (
    select
      user_id, vendor, segment_name, not remove as member, case when not remove then occurred_at end as first,
      occurred_at as last, value, not remove as changed, 1::bigint as events,
      case when value is not null then occurred_at end as value_at, event_id as newest_event_id, value as newest_value,
      null::timestamptz as predecessor_at
    from batch
    where of_key = 1
    union all
    select
      user_id, vendor, segment_name,
      not bool_or(remove) filter (where newest),
      min(occurred_at) filter (where not remove),
      max(occurred_at),
      (array_agg(value order by occurred_at desc, seq desc) filter (where value is not null))[1],
      bool_or(remove is distinct from coalesce(previous_remove, true)) filter (where newest),
      count(*),
      max(occurred_at) filter (where value is not null),
      (array_agg(event_id) filter (where newest))[1],
      max(value) filter (where newest),
      max(previous_at) filter (where newest)
    from chain
    group by user_id, vendor, segment_name
  ),

  -- was_last carries predecessor_at to the conflict: excluded holds only the table's columns. In a new row it means nothing,
  -- which was_event_id, null there, tells.
  upserted as (
    insert into segment_memberships as m (
      user_id, vendor, segment_name, member, first, last, value, changed, events, value_at, newest_event_id, newest_value, was_last
    )
    select * from folded order by user_id, vendor, segment_name
    on conflict (user_id, vendor, segment_name) do update set
      was_last = m.last,
      was_member = m.member,
      was_added = m.first is not null,
      was_event_id = m.newest_event_id,
      was_value = m.newest_value,
      member = case when excluded.last >= m.last then excluded.member else m.member end,
      first = least(m.first, excluded.first),
      last = greatest(m.last, excluded.last),
      value = case when excluded.value_at < m.value_at then m.value else coalesce(excluded.value, m.value) end,
      value_at = greatest(m.value_at, excluded.value_at),
      newest_event_id = case when excluded.last >= m.last then excluded.newest_event_id else m.newest_event_id end,
      newest_value = case when excluded.last >= m.last then excluded.newest_value else m.newest_value end,
      changed = case
        when excluded.last < m.last then m.changed
        when excluded.was_last >= m.last then excluded.changed
        else excluded.member <> m.member
      end,
      events = m.events + excluded.events
    returning
      user_id, vendor, segment_name, was_event_id, was_value, was_member, was_added,
      case when was_event_id is not null then was_last end as was_last
  ),

  -- Each event with the key's newest event before it: the chain's, unless the table has a newer one.
  preceded as (
    select
      seq, user_id, vendor, segment_name, occurred_at, event_id, value, remove,
      coalesce(occurred_at < was_last, false) as late, coalesce(was_added, false) as added,
      was_last as previous_at, was_event_id as previous_id, was_value as previous_value, not was_member as previous_remove
    from batch
    join upserted using (user_id, vendor, segment_name)
    where of_key = 1
    union all
    select
      seq, user_id, vendor, segment_name, occurred_at, event_id, value, remove,
      late or coalesce(occurred_at < was_last, false), added or coalesce(was_added, false),
      case when within then previous_at else was_last end,
      case when within then previous_id else was_event_id end,
      case when within then previous_value else was_value end,
      case when within then previous_remove when was_event_id is not null then not was_member end
    from (
      select
        chain.*, was_event_id, was_value, was_member, was_added, was_last,
        previous_id is not null and coalesce(previous_at >= was_last, true) as within
      from chain
      join upserted using (user_id, vendor, segment_name)
    ) chained
  ),

  judged as (
    select
      *,
      case
        when late then 'late'
        when previous_id is null then case when remove then 'absent' else 'joined' end
        when remove = previous_remove then 'repeat'
        when remove then 'left'
        when added then 'rejoined'
        else 'joined'
      end as outcome
    from preceded
  ),

  recorded as (
    insert into segment_outcomes (
      seq, recorded_at, batch_id, user_id, occurred_at, event_id, vendor, segment_name, value, remove, outcome,
      previous_event_id, previous_occurred_at, previous_value
    )
    select
      seq, now(), this, user_id, occurred_at, event_id, vendor, segment_name, value, remove, outcome,
      case when outcome <> 'late' then previous_id end,
      case when outcome <> 'late' then previous_at end,
      case when outcome <> 'late' then previous_value end
    from judged
    where outcome <> 'repeat'
    order by seq
    returning 1
  )

  -- arrival is drawn when recorded is complete, so while every key of the batch is held: it orders any two batches that share
  -- one. (As a scalar subquery in the select list recorded would run after nextval.) A batch without events is none.
  insert into segment_batches (batch_id, arrival, first_seq, last_seq, events, outcomes)
  select this, nextval('segment_arrival'), first_seq, last_seq, events, outcomes
  from (select min(seq) as first_seq, max(seq) as last_seq, count(*) as events from batch) counted
  cross join (select count(*) as outcomes from recorded) told
  where events > 0;
end $$;

ALTER FUNCTION public.segment_reduce() OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_reduce() IS 'Reduces the current batch into memberships, outcomes and a row of segment_batches, in one statement.';

CREATE FUNCTION public.segment_refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  if current_setting('segment.erasing', true) = 'on' then
    return null;  -- a function that may has set it, until it ends
  end if;
  raise exception '% of % is refused: events and outcomes are only ever added, through segment_events.', tg_op, tg_table_name
    using errcode = 'SG001',
          hint = 'To take back an event add a newer one; segment_reset() empties everything.';
end $$;

ALTER FUNCTION public.segment_refuse_change() OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_refuse_change() IS 'Trigger: refuses the statement, except within a function that may erase.';

CREATE FUNCTION public.segment_refuse_suppressed(batch bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
declare
  partition regclass;
  looked_at boolean := false;
begin
  perform pg_advisory_xact_lock_shared(hashtextextended('pgsegments suppressions', 0));
  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
    perform from segment_suppression_key for share;  -- an older snapshot may lack who was put on the list: this fails then
  end if;
  if not exists (select from segment_suppressions) or exists (select from segment_suppressions where leaving = pg_current_xact_id()) then
    return;
  end if;
  for partition in
    select inhrelid::regclass from pg_inherits
    where inhparent = 'segment_events'::regclass and pg_stat_get_xact_tuples_inserted(inhrelid) > 0
  loop
    looked_at := true;
    perform segment_refuse_suppressed_in(partition, batch);
  end loop;
  if not looked_at then
    perform segment_refuse_suppressed_in('segment_events', batch);
  end if;
end $$;

ALTER FUNCTION public.segment_refuse_suppressed(batch bigint) OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_refuse_suppressed(batch bigint) IS 'Raises where the batch has events of a user who has been erased.';

CREATE FUNCTION public.segment_refuse_suppressed_in(events regclass, batch bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $_$
declare
  users text[];
begin
  execute format('select array(select distinct user_id from %s where batch_id = $1)', events) into users using batch;
  if segment_suppressed(users) <> '{}' then
    raise exception 'Events of a user who has been erased are not taken, so nothing was added.'
      using errcode = 'SG009',
            hint = 'Leave them out; the loader does, and counts them.';
  end if;
end $_$;

ALTER FUNCTION public.segment_refuse_suppressed_in(events regclass, batch bigint) OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_refuse_suppressed_in(events regclass, batch bigint) IS 'Raises where the batch has, in this table, events of a user who has been erased.';

CREATE FUNCTION public.segment_require_exported(partition text, until timestamp with time zone, last_xact xid8, last_batch bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $_$
declare
  missing bigint;
  lakes text;
begin
  execute format(
    'select count(*) from segment_batches b
    where (b.xact_id, b.batch_id) > ($1, $2) and exists (select from %I e where e.batch_id = b.batch_id and e.occurred_at < $3)', partition
  ) into missing using last_xact, last_batch, until;
  if missing > 0 then
    select string_agg(d.destination, ', ' order by d.destination) into lakes
    from lake_destinations d where (d.xact_id, d.batch_id) = (last_xact, last_batch);
    raise exception 'Events of % batches are not in the lake % yet.', missing, lakes
      using errcode = 'SG006',
            hint = 'Run lake export, or, if that lake is given up, lake forget.';
  end if;
end $_$;

ALTER FUNCTION public.segment_require_exported(partition text, until timestamp with time zone, last_xact xid8, last_batch bigint) OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_require_exported(partition text, until timestamp with time zone, last_xact xid8, last_batch bigint) IS 'Raises where a partition has expired events of batches beyond a lake''s position.';

CREATE FUNCTION public.segment_require_read_committed() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'What may go is looked at again under a lock, which a transaction that is % cannot.', current_setting('transaction_isolation')
      using errcode = 'SG007',
            hint = 'Call it in a transaction that is read committed.';
  end if;
end $$;

ALTER FUNCTION public.segment_require_read_committed() OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_require_read_committed() IS 'Raises unless each statement of the transaction sees what was committed before it.';

CREATE FUNCTION public.segment_reset() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
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

ALTER FUNCTION public.segment_reset() OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_reset() IS 'Back to pristine: empties events, memberships, outcomes, batches, rejects and sources, forgets the lakes, and unsets the horizon. The owner''s.';

CREATE FUNCTION public.segment_suppress(erased_user text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET lock_timeout TO '300ms'
    AS $$
begin
  perform segment_require_read_committed();
  if exists (select from segment_suppressions where hash = segment_user_hash(erased_user)) then
    return;
  end if;
  perform pg_advisory_xact_lock(hashtextextended('pgsegments suppressions', 0));
  insert into segment_suppressions (hash) values (segment_user_hash(erased_user)) on conflict do nothing;
  update segment_suppression_key set one = one;  -- a transaction with an older snapshot is refused by it
end $$;

ALTER FUNCTION public.segment_suppress(erased_user text) OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_suppress(erased_user text) IS 'From now on no event of the user is taken. Raises lock_not_available where a transaction that adds events is open for long.';

CREATE FUNCTION public.segment_suppressed(users text[]) RETURNS text[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
begin
  perform pg_advisory_xact_lock_shared(hashtextextended('pgsegments suppressions', 0));
  if not exists (select from segment_suppressions) then
    return '{}';
  end if;
  return array(
    select u.name
    from unnest(users) u (name)
    cross join segment_suppression_key k
    where sha256(k.key || convert_to(u.name, 'UTF8')) in (select hash from segment_suppressions)
  );
end $$;

ALTER FUNCTION public.segment_suppressed(users text[]) OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_suppressed(users text[]) IS 'Those of the users who have been erased. Until the transaction ends no other is.';

CREATE FUNCTION public.segment_user_hash(erased_user text) RETURNS bytea
    LANGUAGE sql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$ select sha256(k.key || convert_to(erased_user, 'UTF8')) from segment_suppression_key k $$;

ALTER FUNCTION public.segment_user_hash(erased_user text) OWNER TO segment_owner;

COMMENT ON FUNCTION public.segment_user_hash(erased_user text) IS 'What segment_suppressions knows a user by.';

CREATE TABLE public.lake_destinations (
    destination text NOT NULL COLLATE pg_catalog."C",
    format text NOT NULL COLLATE pg_catalog."C",
    system_identifier bigint NOT NULL,
    xact_id xid8 DEFAULT '0'::xid8 NOT NULL,
    batch_id bigint DEFAULT 0 NOT NULL,
    until_xact_id xid8,
    until_batch_id bigint,
    made_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    pruned bigint DEFAULT 0 NOT NULL,
    CONSTRAINT lake_destinations_format CHECK ((format = ANY (ARRAY['jsonl.gz'::text, 'parquet'::text]))),
    CONSTRAINT lake_destinations_until CHECK (((until_xact_id IS NULL) = (until_batch_id IS NULL)))
);

ALTER TABLE public.lake_destinations OWNER TO segment_owner;

COMMENT ON TABLE public.lake_destinations IS 'How far each lake has come: one row a destination.';

COMMENT ON COLUMN public.lake_destinations.destination IS 'The folder, by its absolute path, or the object store''s URL.';

COMMENT ON COLUMN public.lake_destinations.format IS 'jsonl.gz or parquet.';

COMMENT ON COLUMN public.lake_destinations.system_identifier IS 'The server whose transaction ids the positions are: on another they mean nothing.';

COMMENT ON COLUMN public.lake_destinations.xact_id IS 'The transaction of the last batch that the lake has; 0: it has none.';

COMMENT ON COLUMN public.lake_destinations.batch_id IS 'The last batch that the lake has, in order of (xact_id, batch_id): it has all up to it.';

COMMENT ON COLUMN public.lake_destinations.until_xact_id IS 'The transaction of the last batch in the fragments that are being put in place; null: none are.';

COMMENT ON COLUMN public.lake_destinations.until_batch_id IS 'The last batch in the fragments that are being put in place; null: none are.';

COMMENT ON COLUMN public.lake_destinations.made_at IS 'When the first export to it began.';

COMMENT ON COLUMN public.lake_destinations.updated_at IS 'When this row was last written.';

COMMENT ON COLUMN public.lake_destinations.pruned IS 'How many events the lake has that retention has since removed from the tables.';

CREATE TABLE public.lake_fragments (
    destination text NOT NULL COLLATE pg_catalog."C",
    path text NOT NULL COLLATE pg_catalog."C",
    batches int8multirange NOT NULL,
    rows bigint NOT NULL,
    bytes bigint NOT NULL,
    checksum bytea NOT NULL,
    recorded_at timestamp with time zone DEFAULT now() NOT NULL,
    written_at timestamp with time zone
);

ALTER TABLE public.lake_fragments OWNER TO segment_owner;

COMMENT ON TABLE public.lake_fragments IS 'The files that the lakes consist of: recorded before they are there, and marked once they are.';

COMMENT ON COLUMN public.lake_fragments.destination IS 'The lake: a row of lake_destinations.';

COMMENT ON COLUMN public.lake_fragments.path IS 'The file, below the destination.';

COMMENT ON COLUMN public.lake_fragments.batches IS 'The batches (segment_batches.batch_id) that it has events of: all that they have of its vendor and hour, together with the fragments beside it.';

COMMENT ON COLUMN public.lake_fragments.rows IS 'How many events it has.';

COMMENT ON COLUMN public.lake_fragments.bytes IS 'Its size.';

COMMENT ON COLUMN public.lake_fragments.checksum IS 'SHA-256 of the whole file; its name has the first 16 hex digits.';

COMMENT ON COLUMN public.lake_fragments.recorded_at IS 'When it was recorded: it was complete then, under another name.';

COMMENT ON COLUMN public.lake_fragments.written_at IS 'Since when it is known to be there; null: it may not be yet.';

CREATE TABLE public.lake_removals (
    destination text NOT NULL COLLATE pg_catalog."C",
    path text NOT NULL COLLATE pg_catalog."C"
);

ALTER TABLE public.lake_removals OWNER TO segment_owner;

COMMENT ON TABLE public.lake_removals IS 'Files of the lakes that were replaced and are to be removed: no longer recorded in lake_fragments, and perhaps there still.';

COMMENT ON COLUMN public.lake_removals.destination IS 'The lake: a row of lake_destinations.';

COMMENT ON COLUMN public.lake_removals.path IS 'The file, below the destination.';

CREATE TABLE public.segment_alembic_version (
    version_num character varying(32) NOT NULL
);

ALTER TABLE public.segment_alembic_version OWNER TO segment_owner;

COMMENT ON TABLE public.segment_alembic_version IS 'The last migration that ran.';

COMMENT ON COLUMN public.segment_alembic_version.version_num IS 'Its number.';

CREATE SEQUENCE public.segment_arrival
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.segment_arrival OWNER TO segment_owner;

COMMENT ON SEQUENCE public.segment_arrival IS 'The order in which batches took their keys.';

CREATE SEQUENCE public.segment_batch_floor
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.segment_batch_floor OWNER TO segment_owner;

COMMENT ON SEQUENCE public.segment_batch_floor IS 'currval: every batch that this session began in its transaction has this id or a greater one.';

CREATE SEQUENCE public.segment_batch_id
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.segment_batch_id OWNER TO segment_owner;

COMMENT ON SEQUENCE public.segment_batch_id IS 'Drawn by the trigger before each statement that adds events. No role but the owner may: who could draw an id could slip events past the reducer.';

CREATE SEQUENCE public.segment_batch_transaction
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.segment_batch_transaction OWNER TO segment_owner;

COMMENT ON SEQUENCE public.segment_batch_transaction IS 'currval: the transaction to which this session''s segment_batch_floor belongs.';

CREATE TABLE public.segment_batches (
    batch_id bigint NOT NULL,
    arrival bigint NOT NULL,
    xact_id xid8 DEFAULT pg_current_xact_id() NOT NULL,
    recorded_at timestamp with time zone DEFAULT now() NOT NULL,
    first_seq bigint NOT NULL,
    last_seq bigint NOT NULL,
    events bigint NOT NULL,
    outcomes bigint NOT NULL
);

ALTER TABLE public.segment_batches OWNER TO segment_owner;

COMMENT ON TABLE public.segment_batches IS 'One row a reduced batch, that is: a statement that added events.';

COMMENT ON COLUMN public.segment_batches.batch_id IS 'The id that the batch''s events and outcomes carry.';

COMMENT ON COLUMN public.segment_batches.arrival IS 'The order of batches that share a key: a fold over (arrival, seq) repeats the state.';

COMMENT ON COLUMN public.segment_batches.xact_id IS 'The transaction that committed it; means nothing after a dump and restore.';

COMMENT ON COLUMN public.segment_batches.recorded_at IS 'When that transaction began: the time of receipt.';

COMMENT ON COLUMN public.segment_batches.first_seq IS 'The least seq of its events.';

COMMENT ON COLUMN public.segment_batches.last_seq IS 'The greatest seq of its events.';

COMMENT ON COLUMN public.segment_batches.events IS 'How many events it has in segment_events; retention, which removes days of events, makes it less.';

COMMENT ON COLUMN public.segment_batches.outcomes IS 'How many of them had a row in segment_outcomes when it was reduced; the others were repeats.';

CREATE SEQUENCE public.segment_event_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.segment_event_seq OWNER TO segment_owner;

COMMENT ON SEQUENCE public.segment_event_seq IS 'Arrival of events within the database.';

CREATE TABLE public.segment_events (
    user_id text NOT NULL COLLATE pg_catalog."C",
    occurred_at timestamp with time zone NOT NULL,
    event_id uuid NOT NULL,
    vendor integer NOT NULL,
    segment_name text NOT NULL COLLATE pg_catalog."C",
    value text COLLATE pg_catalog."C",
    remove boolean DEFAULT false NOT NULL,
    extra jsonb,
    seq bigint DEFAULT nextval('public.segment_event_seq'::regclass) NOT NULL,
    batch_id bigint DEFAULT public.segment_current_batch() NOT NULL,
    CONSTRAINT segment_events_extra CHECK (((extra IS NULL) OR ((jsonb_typeof(extra) = 'object'::text) AND (NOT (extra ?| ARRAY['event'::text, 'timestamp'::text, 'user'::text, 'value'::text, 'remove'::text])) AND ((NOT (extra ? 'segment'::text)) OR ((jsonb_typeof((extra -> 'segment'::text)) = 'object'::text) AND (NOT ((extra -> 'segment'::text) ?| ARRAY['vendor'::text, 'name'::text]))))))),
    CONSTRAINT segment_events_segment CHECK (((char_length(segment_name) >= 1) AND (char_length(segment_name) <= 32))),
    CONSTRAINT segment_events_timestamp CHECK (((occurred_at >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (occurred_at < '10000-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT segment_events_user CHECK (((char_length(user_id) >= 1) AND (char_length(user_id) <= 256))),
    CONSTRAINT segment_events_value CHECK (((value IS NULL) OR (NOT remove))),
    CONSTRAINT segment_events_vendor CHECK ((vendor > 0))
)
PARTITION BY RANGE (occurred_at);

ALTER TABLE public.segment_events OWNER TO segment_owner;

COMMENT ON TABLE public.segment_events IS 'Every event, once; append-only, partitioned by the UTC day of occurred_at. COPY or insert the contract''s columns: triggers reduce each statement''s rows as one batch.';

COMMENT ON COLUMN public.segment_events.user_id IS 'The user, 1 to 256 characters.';

COMMENT ON COLUMN public.segment_events.occurred_at IS 'When it happened.';

COMMENT ON COLUMN public.segment_events.event_id IS 'The event''s id; its identity is (event_id, user_id, occurred_at).';

COMMENT ON COLUMN public.segment_events.vendor IS 'The vendor that the segment belongs to, from 1.';

COMMENT ON COLUMN public.segment_events.segment_name IS 'The segment within the vendor, 1 to 32 characters.';

COMMENT ON COLUMN public.segment_events.value IS 'A value associated with the addition; the empty string is one. Never beside remove.';

COMMENT ON COLUMN public.segment_events.remove IS 'True: the user was removed from the segment; otherwise added.';

COMMENT ON COLUMN public.segment_events.extra IS 'Fields that the contract does not name, those of segment under "segment"; null when there are none.';

COMMENT ON COLUMN public.segment_events.seq IS 'Arrival within the database: drawn row by row; a key''s events keep the order in which they came.';

COMMENT ON COLUMN public.segment_events.batch_id IS 'The batch that brought it: one row of segment_batches.';

CREATE TABLE public.segment_outcomes (
    seq bigint NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    batch_id bigint NOT NULL,
    user_id text NOT NULL COLLATE pg_catalog."C",
    occurred_at timestamp with time zone NOT NULL,
    event_id uuid NOT NULL,
    vendor integer NOT NULL,
    segment_name text NOT NULL COLLATE pg_catalog."C",
    value text COLLATE pg_catalog."C",
    remove boolean NOT NULL,
    outcome text NOT NULL COLLATE pg_catalog."C",
    previous_event_id uuid,
    previous_occurred_at timestamp with time zone,
    previous_value text COLLATE pg_catalog."C",
    CONSTRAINT segment_outcomes_outcome CHECK ((outcome = ANY (ARRAY['joined'::text, 'rejoined'::text, 'left'::text, 'absent'::text, 'late'::text])))
)
PARTITION BY RANGE (recorded_at);

ALTER TABLE public.segment_outcomes OWNER TO segment_owner;

COMMENT ON TABLE public.segment_outcomes IS 'What each event did, in the order of segment_batches.arrival, then seq; an event with no row here is a repeat. Append-only, partitioned by the UTC day of recorded_at.';

COMMENT ON COLUMN public.segment_outcomes.seq IS 'The event''s seq.';

COMMENT ON COLUMN public.segment_outcomes.recorded_at IS 'When the transaction began that recorded it.';

COMMENT ON COLUMN public.segment_outcomes.batch_id IS 'The event''s batch.';

COMMENT ON COLUMN public.segment_outcomes.user_id IS 'The user.';

COMMENT ON COLUMN public.segment_outcomes.occurred_at IS 'When the event happened.';

COMMENT ON COLUMN public.segment_outcomes.event_id IS 'The event''s id.';

COMMENT ON COLUMN public.segment_outcomes.vendor IS 'The vendor that the segment belongs to.';

COMMENT ON COLUMN public.segment_outcomes.segment_name IS 'The segment within the vendor.';

COMMENT ON COLUMN public.segment_outcomes.value IS 'The event''s value.';

COMMENT ON COLUMN public.segment_outcomes.remove IS 'True: a removal; otherwise an addition.';

COMMENT ON COLUMN public.segment_outcomes.outcome IS 'joined: added for the first time; rejoined: added again after a removal; left: removed; absent: a removal of a user with no event in the segment; late: older than the newest event of its key.';

COMMENT ON COLUMN public.segment_outcomes.previous_event_id IS 'The id of the key''s newest event before this one; null: there was none, or this one is late.';

COMMENT ON COLUMN public.segment_outcomes.previous_occurred_at IS 'When that previous event happened.';

COMMENT ON COLUMN public.segment_outcomes.previous_value IS 'The value of that previous event.';

CREATE VIEW public.segment_event_outcomes AS
 SELECT e.user_id,
    e.occurred_at,
    e.event_id,
    e.vendor,
    e.segment_name,
    e.value,
    e.remove,
    e.extra,
    e.seq,
    e.batch_id,
    COALESCE(o.outcome, 'repeat'::text) AS outcome,
    o.previous_event_id,
    o.previous_occurred_at,
    o.previous_value
   FROM (public.segment_events e
     LEFT JOIN public.segment_outcomes o ON (((o.seq = e.seq) AND (o.user_id = e.user_id))));

ALTER VIEW public.segment_event_outcomes OWNER TO segment_owner;

COMMENT ON VIEW public.segment_event_outcomes IS 'Every event with its outcome: did it change the status, or was it a repeated add or remove?';

COMMENT ON COLUMN public.segment_event_outcomes.outcome IS 'joined, rejoined, left, absent, late or repeat.';

COMMENT ON COLUMN public.segment_event_outcomes.previous_event_id IS 'The id of the key''s newest event before this one; null: there was none, or the event is late or a repeat.';

CREATE TABLE public.segment_events_older (
    user_id text CONSTRAINT segment_events_user_id_not_null NOT NULL COLLATE pg_catalog."C",
    occurred_at timestamp with time zone CONSTRAINT segment_events_occurred_at_not_null NOT NULL,
    event_id uuid CONSTRAINT segment_events_event_id_not_null NOT NULL,
    vendor integer CONSTRAINT segment_events_vendor_not_null NOT NULL,
    segment_name text CONSTRAINT segment_events_segment_name_not_null NOT NULL COLLATE pg_catalog."C",
    value text COLLATE pg_catalog."C",
    remove boolean DEFAULT false CONSTRAINT segment_events_remove_not_null NOT NULL,
    extra jsonb,
    seq bigint DEFAULT nextval('public.segment_event_seq'::regclass) CONSTRAINT segment_events_seq_not_null NOT NULL,
    batch_id bigint DEFAULT public.segment_current_batch() CONSTRAINT segment_events_batch_id_not_null NOT NULL,
    CONSTRAINT segment_events_extra CHECK (((extra IS NULL) OR ((jsonb_typeof(extra) = 'object'::text) AND (NOT (extra ?| ARRAY['event'::text, 'timestamp'::text, 'user'::text, 'value'::text, 'remove'::text])) AND ((NOT (extra ? 'segment'::text)) OR ((jsonb_typeof((extra -> 'segment'::text)) = 'object'::text) AND (NOT ((extra -> 'segment'::text) ?| ARRAY['vendor'::text, 'name'::text]))))))),
    CONSTRAINT segment_events_segment CHECK (((char_length(segment_name) >= 1) AND (char_length(segment_name) <= 32))),
    CONSTRAINT segment_events_timestamp CHECK (((occurred_at >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (occurred_at < '10000-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT segment_events_user CHECK (((char_length(user_id) >= 1) AND (char_length(user_id) <= 256))),
    CONSTRAINT segment_events_value CHECK (((value IS NULL) OR (NOT remove))),
    CONSTRAINT segment_events_vendor CHECK ((vendor > 0))
);

ALTER TABLE public.segment_events_older OWNER TO segment_owner;

COMMENT ON TABLE public.segment_events_older IS 'A partition of segment_events; never named directly.';

COMMENT ON COLUMN public.segment_events_older.user_id IS 'The user, 1 to 256 characters.';

COMMENT ON COLUMN public.segment_events_older.occurred_at IS 'When it happened.';

COMMENT ON COLUMN public.segment_events_older.event_id IS 'The event''s id; its identity is (event_id, user_id, occurred_at).';

COMMENT ON COLUMN public.segment_events_older.vendor IS 'The vendor that the segment belongs to, from 1.';

COMMENT ON COLUMN public.segment_events_older.segment_name IS 'The segment within the vendor, 1 to 32 characters.';

COMMENT ON COLUMN public.segment_events_older.value IS 'A value associated with the addition; the empty string is one. Never beside remove.';

COMMENT ON COLUMN public.segment_events_older.remove IS 'True: the user was removed from the segment; otherwise added.';

COMMENT ON COLUMN public.segment_events_older.extra IS 'Fields that the contract does not name, those of segment under "segment"; null when there are none.';

COMMENT ON COLUMN public.segment_events_older.seq IS 'Arrival within the database: drawn row by row; a key''s events keep the order in which they came.';

COMMENT ON COLUMN public.segment_events_older.batch_id IS 'The batch that brought it: one row of segment_batches.';

CREATE TABLE public.segment_memberships (
    user_id text NOT NULL COLLATE pg_catalog."C",
    vendor integer NOT NULL,
    segment_name text NOT NULL COLLATE pg_catalog."C",
    member boolean NOT NULL,
    first timestamp with time zone,
    last timestamp with time zone NOT NULL,
    value text COLLATE pg_catalog."C",
    changed boolean NOT NULL,
    events bigint NOT NULL,
    value_at timestamp with time zone,
    newest_event_id uuid NOT NULL,
    newest_value text COLLATE pg_catalog."C",
    was_last timestamp with time zone,
    was_member boolean,
    was_added boolean,
    was_event_id uuid,
    was_value text COLLATE pg_catalog."C"
)
WITH (fillfactor='80');

ALTER TABLE public.segment_memberships OWNER TO segment_owner;

COMMENT ON TABLE public.segment_memberships IS 'Who is, or was, in which segment: one row a user and segment. A removal is a soft delete: the row stays.';

COMMENT ON COLUMN public.segment_memberships.user_id IS 'The user.';

COMMENT ON COLUMN public.segment_memberships.vendor IS 'The vendor that the segment belongs to.';

COMMENT ON COLUMN public.segment_memberships.segment_name IS 'The segment within the vendor.';

COMMENT ON COLUMN public.segment_memberships.member IS 'The status after the newest event.';

COMMENT ON COLUMN public.segment_memberships.first IS 'When the user was first added, by the least timestamp of the additions; null: never.';

COMMENT ON COLUMN public.segment_memberships.last IS 'When the newest event happened.';

COMMENT ON COLUMN public.segment_memberships.value IS 'The value of the newest event that has one; a removal keeps it.';

COMMENT ON COLUMN public.segment_memberships.changed IS 'The newest event changed the status, that is: it was no repeat and no removal of an unknown user.';

COMMENT ON COLUMN public.segment_memberships.events IS 'How many events the key has had, late ones and repeats included.';

COMMENT ON COLUMN public.segment_memberships.value_at IS 'When the event happened that value comes from.';

COMMENT ON COLUMN public.segment_memberships.newest_event_id IS 'The id of the newest event.';

COMMENT ON COLUMN public.segment_memberships.newest_value IS 'The value of the newest event itself, null when it has none.';

COMMENT ON COLUMN public.segment_memberships.was_last IS 'last before the last batch (the reducer''s).';

COMMENT ON COLUMN public.segment_memberships.was_member IS 'member before the last batch (the reducer''s).';

COMMENT ON COLUMN public.segment_memberships.was_added IS 'Whether first was known before the last batch (the reducer''s).';

COMMENT ON COLUMN public.segment_memberships.was_event_id IS 'newest_event_id before the last batch, null when the key was new in it (the reducer''s).';

COMMENT ON COLUMN public.segment_memberships.was_value IS 'newest_value before the last batch (the reducer''s).';

CREATE SEQUENCE public.segment_reject_id
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.segment_reject_id OWNER TO segment_owner;

COMMENT ON SEQUENCE public.segment_reject_id IS 'Numbers the rejects.';

CREATE TABLE public.segment_rejects (
    reject_id bigint DEFAULT nextval('public.segment_reject_id'::regclass) NOT NULL,
    source text NOT NULL COLLATE pg_catalog."C",
    "position" bigint NOT NULL,
    bytes bytea NOT NULL,
    length bigint NOT NULL,
    sha256 bytea,
    code text NOT NULL COLLATE pg_catalog."C",
    reason text NOT NULL,
    rejected_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE public.segment_rejects OWNER TO segment_owner;

COMMENT ON TABLE public.segment_rejects IS 'Quarantine: lines that are no valid event, kept as they came.';

COMMENT ON COLUMN public.segment_rejects.reject_id IS 'For loader rejects show.';

COMMENT ON COLUMN public.segment_rejects.source IS 'The loader''s source: a file''s path or the name given.';

COMMENT ON COLUMN public.segment_rejects."position" IS 'Byte offset of the line in its source.';

COMMENT ON COLUMN public.segment_rejects.bytes IS 'The line as it came, without its line end; of an over-long one the first 64 KiB.';

COMMENT ON COLUMN public.segment_rejects.length IS 'Bytes in the whole line.';

COMMENT ON COLUMN public.segment_rejects.sha256 IS 'Hash of the whole line; only where bytes is cut.';

COMMENT ON COLUMN public.segment_rejects.code IS 'What is wrong, for programs: invalid_json, duplicate_key, invalid_user, …, future, expired, conflict, refused.';

COMMENT ON COLUMN public.segment_rejects.reason IS 'What is wrong, for people.';

COMMENT ON COLUMN public.segment_rejects.rejected_at IS 'When the transaction began that recorded it.';

CREATE TABLE public.segment_settings (
    one boolean DEFAULT true NOT NULL,
    first_day date DEFAULT (((now() AT TIME ZONE 'UTC'::text))::date - 400) NOT NULL,
    horizon timestamp with time zone,
    system_identifier bigint NOT NULL,
    CONSTRAINT segment_settings_one_check CHECK (one)
);

ALTER TABLE public.segment_settings OWNER TO segment_owner;

COMMENT ON TABLE public.segment_settings IS 'What holds for the whole database; one row.';

COMMENT ON COLUMN public.segment_settings.one IS 'Always true: keeps the table at one row.';

COMMENT ON COLUMN public.segment_settings.first_day IS 'First UTC day whose events have a partition of their own; earlier ones share segment_events_older.';

COMMENT ON COLUMN public.segment_settings.horizon IS 'Events older than this are rejected as expired; null until retention has dropped events.';

COMMENT ON COLUMN public.segment_settings.system_identifier IS 'The server on which the database was migrated: positions in another server''s log mean nothing here.';

CREATE TABLE public.segment_source_positions (
    source text NOT NULL COLLATE pg_catalog."C",
    bucket smallint NOT NULL,
    "position" bigint NOT NULL,
    CONSTRAINT segment_source_positions_bucket_check CHECK (((bucket >= 0) AND (bucket <= 15)))
);

ALTER TABLE public.segment_source_positions OWNER TO segment_owner;

COMMENT ON TABLE public.segment_source_positions IS 'How far each source has been read, a hash bucket of users.';

COMMENT ON COLUMN public.segment_source_positions.source IS 'The source, as in segment_sources.';

COMMENT ON COLUMN public.segment_source_positions.bucket IS 'CRC-32 of the user (of a bad line: of its position), modulo 16.';

COMMENT ON COLUMN public.segment_source_positions."position" IS 'Byte offset: every line of the bucket that starts below it is done.';

CREATE TABLE public.segment_sources (
    source text NOT NULL COLLATE pg_catalog."C",
    fingerprint bytea,
    fingerprint_length integer,
    loaded bigint DEFAULT 0 NOT NULL,
    duplicates bigint DEFAULT 0 NOT NULL,
    rejected bigint DEFAULT 0 NOT NULL,
    first_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    finished_at timestamp with time zone,
    suppressed bigint DEFAULT 0 NOT NULL
);

ALTER TABLE public.segment_sources OWNER TO segment_owner;

COMMENT ON TABLE public.segment_sources IS 'What the loader has read from each source.';

COMMENT ON COLUMN public.segment_sources.source IS 'A file''s absolute path, or the name given with --source.';

COMMENT ON COLUMN public.segment_sources.fingerprint IS 'SHA-256 of the first fingerprint_length bytes: tells a replaced file from one that has grown. Null: a stream without positions.';

COMMENT ON COLUMN public.segment_sources.fingerprint_length IS 'The lesser of 4096 and the file''s size when it was first seen.';

COMMENT ON COLUMN public.segment_sources.loaded IS 'Events that came from it and were new.';

COMMENT ON COLUMN public.segment_sources.duplicates IS 'Events that came from it and were known already.';

COMMENT ON COLUMN public.segment_sources.rejected IS 'Lines that went to segment_rejects, but for those that left it again.';

COMMENT ON COLUMN public.segment_sources.first_seen_at IS 'When it was first seen; since then, or since the file was replaced, the counts run.';

COMMENT ON COLUMN public.segment_sources.updated_at IS 'When a batch of it was last committed.';

COMMENT ON COLUMN public.segment_sources.finished_at IS 'When the file had been read to its end; null: it is being read, is followed, or is a stream, which has no end that is known.';

COMMENT ON COLUMN public.segment_sources.suppressed IS 'Lines that came from it for users who have been erased: nothing of them is kept.';

CREATE TABLE public.segment_suppression_key (
    one boolean DEFAULT true NOT NULL,
    key bytea DEFAULT sha256(convert_to(((gen_random_uuid())::text || (gen_random_uuid())::text), 'UTF8'::name)) NOT NULL,
    CONSTRAINT segment_suppression_key_one_check CHECK (one)
);

ALTER TABLE public.segment_suppression_key OWNER TO segment_owner;

COMMENT ON TABLE public.segment_suppression_key IS 'What the hashes of segment_suppressions are made with; one row, which only the owner reads.';

COMMENT ON COLUMN public.segment_suppression_key.one IS 'Always true: keeps the table at one row.';

COMMENT ON COLUMN public.segment_suppression_key.key IS 'Random.';

CREATE TABLE public.segment_suppressions (
    hash bytea NOT NULL,
    suppressed_at timestamp with time zone DEFAULT now() NOT NULL,
    leaving xid8,
    batches int8multirange DEFAULT '{}'::int8multirange NOT NULL,
    everywhere boolean DEFAULT false NOT NULL,
    finished_at timestamp with time zone
);

ALTER TABLE public.segment_suppressions OWNER TO segment_owner;

COMMENT ON TABLE public.segment_suppressions IS 'Users who have been erased, and whose events are not taken any more: a row each. segment_reset() leaves it as it is.';

COMMENT ON COLUMN public.segment_suppressions.hash IS 'SHA-256 of the key, followed by the user in UTF-8.';

COMMENT ON COLUMN public.segment_suppressions.suppressed_at IS 'When erasing began.';

COMMENT ON COLUMN public.segment_suppressions.leaving IS 'The transaction that may add the user''s last removals.';

COMMENT ON COLUMN public.segment_suppressions.batches IS 'The batches that had events of the user: every listener delivers them before the user''s rows go, and the lakes'' files of these are searched.';

COMMENT ON COLUMN public.segment_suppressions.everywhere IS 'Whether retention had removed events, so that all files of the lakes are searched.';

COMMENT ON COLUMN public.segment_suppressions.finished_at IS 'When the user was gone everywhere; null: lake erase is to be run again.';

CREATE VIEW public.segment_toggles AS
 SELECT user_id,
    occurred_at,
    event_id,
    vendor,
    segment_name,
    value,
    remove,
    seq,
    batch_id,
    recorded_at,
    outcome,
    previous_event_id,
    previous_occurred_at,
    previous_value
   FROM public.segment_outcomes
  WHERE (outcome = ANY (ARRAY['left'::text, 'rejoined'::text]));

ALTER VIEW public.segment_toggles OWNER TO segment_owner;

COMMENT ON VIEW public.segment_toggles IS 'Changes of a status that the user has had before: what the webhook gets. In order of segment_batches.arrival, then seq.';

COMMENT ON COLUMN public.segment_toggles.outcome IS 'left or rejoined.';

CREATE TABLE public.webhook_cursors (
    slot text NOT NULL COLLATE pg_catalog."C",
    publication text NOT NULL COLLATE pg_catalog."C",
    lsn pg_lsn,
    commit_lsn pg_lsn,
    documents bigint DEFAULT 0 NOT NULL,
    past text DEFAULT 'none'::text NOT NULL COLLATE pg_catalog."C",
    past_snapshot pg_snapshot,
    committed_at timestamp with time zone,
    delivered bigint DEFAULT 0 NOT NULL,
    called_at timestamp with time zone,
    answer text,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    base pg_snapshot,
    wanted text[] DEFAULT '{}'::text[] NOT NULL COLLATE pg_catalog."C",
    version bigint DEFAULT 0 NOT NULL,
    writer uuid,
    CONSTRAINT webhook_cursors_documents CHECK (((commit_lsn IS NULL) = (documents = 0))),
    CONSTRAINT webhook_cursors_past CHECK ((past = ANY (ARRAY['none'::text, 'wanted'::text, 'begun'::text, 'done'::text]))),
    CONSTRAINT webhook_cursors_past_snapshot CHECK (((past_snapshot IS NULL) = (past = ANY (ARRAY['none'::text, 'wanted'::text]))))
);

ALTER TABLE public.webhook_cursors OWNER TO segment_owner;

COMMENT ON TABLE public.webhook_cursors IS 'How far each listener has come: one row a slot.';

COMMENT ON COLUMN public.webhook_cursors.slot IS 'The replication slot that the listener streams.';

COMMENT ON COLUMN public.webhook_cursors.publication IS 'The publication that it streams: what is delivered.';

COMMENT ON COLUMN public.webhook_cursors.lsn IS 'Everything before it in the log has been delivered; null until the slot is made.';

COMMENT ON COLUMN public.webhook_cursors.commit_lsn IS 'Where the transaction commits of which a part has been delivered; null: none is begun.';

COMMENT ON COLUMN public.webhook_cursors.documents IS 'How many documents of that transaction have been delivered; 0: none is begun.';

COMMENT ON COLUMN public.webhook_cursors.past IS 'none: delivery began with the slot; wanted: toggles recorded before it are to be delivered and the slot is not made yet; begun: they are being delivered; done: they have been.';

COMMENT ON COLUMN public.webhook_cursors.past_snapshot IS 'Sees the transactions that the slot does not stream, because they were there before it; null while past is none or wanted.';

COMMENT ON COLUMN public.webhook_cursors.committed_at IS 'When the last delivered transaction committed.';

COMMENT ON COLUMN public.webhook_cursors.delivered IS 'How many documents have been delivered, in all.';

COMMENT ON COLUMN public.webhook_cursors.called_at IS 'When the receiver was last called.';

COMMENT ON COLUMN public.webhook_cursors.answer IS 'What the receiver answered last, for people.';

COMMENT ON COLUMN public.webhook_cursors.updated_at IS 'When this row was last written.';

COMMENT ON COLUMN public.webhook_cursors.base IS 'Everything that it sees has been delivered; null: nothing, or it is not known yet.';

COMMENT ON COLUMN public.webhook_cursors.wanted IS 'What is delivered: vendors and segments as listener run --only has them; empty: all.';

COMMENT ON COLUMN public.webhook_cursors.version IS 'How often it was written. Who writes says which one it knows: so nobody overwrites what another has written since, or what a server has that was a standby and lacks the latest.';

COMMENT ON COLUMN public.webhook_cursors.writer IS 'The listener that wrote it last, which may write again when it has not heard of a commit.';

CREATE SEQUENCE public.webhook_dead_letter_id
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.webhook_dead_letter_id OWNER TO segment_owner;

COMMENT ON SEQUENCE public.webhook_dead_letter_id IS 'Numbers the dead letters.';

CREATE TABLE public.webhook_dead_letters (
    id bigint DEFAULT nextval('public.webhook_dead_letter_id'::regclass) NOT NULL,
    slot text NOT NULL COLLATE pg_catalog."C",
    document json NOT NULL,
    webhook_id text NOT NULL COLLATE pg_catalog."C",
    status integer,
    answer text NOT NULL,
    set_aside_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE public.webhook_dead_letters OWNER TO segment_owner;

COMMENT ON TABLE public.webhook_dead_letters IS 'Documents that a receiver refused for good, kept as they were posted.';

COMMENT ON COLUMN public.webhook_dead_letters.id IS 'Its number: in order of setting aside.';

COMMENT ON COLUMN public.webhook_dead_letters.slot IS 'The listener''s slot, as in webhook_cursors; that row may be gone.';

COMMENT ON COLUMN public.webhook_dead_letters.document IS 'The document, in the text that was posted.';

COMMENT ON COLUMN public.webhook_dead_letters.webhook_id IS 'The id of the call that was refused.';

COMMENT ON COLUMN public.webhook_dead_letters.status IS 'The HTTP status that it was refused with; null: there was none.';

COMMENT ON COLUMN public.webhook_dead_letters.answer IS 'Why it was refused, for people: what the receiver answered.';

COMMENT ON COLUMN public.webhook_dead_letters.set_aside_at IS 'When the transaction began that set it aside.';

CREATE TABLE public.webhook_delivered (
    slot text NOT NULL COLLATE pg_catalog."C",
    batch_id bigint NOT NULL,
    last_seq bigint NOT NULL
);

ALTER TABLE public.webhook_delivered OWNER TO segment_owner;

COMMENT ON TABLE public.webhook_delivered IS 'Batches of which toggles have been delivered since the base in webhook_cursors, which does not see them.';

COMMENT ON COLUMN public.webhook_delivered.slot IS 'The listener''s slot.';

COMMENT ON COLUMN public.webhook_delivered.batch_id IS 'The batch.';

COMMENT ON COLUMN public.webhook_delivered.last_seq IS 'Its toggles up to this seq have been delivered, or were not wanted.';

ALTER TABLE ONLY public.segment_events ATTACH PARTITION public.segment_events_older FOR VALUES FROM (MINVALUE) TO ('400 days before the migration');

ALTER TABLE ONLY public.lake_destinations
    ADD CONSTRAINT lake_destinations_pkey PRIMARY KEY (destination);

ALTER TABLE ONLY public.lake_fragments
    ADD CONSTRAINT lake_fragments_pkey PRIMARY KEY (destination, path);

ALTER TABLE ONLY public.lake_removals
    ADD CONSTRAINT lake_removals_pkey PRIMARY KEY (destination, path);

ALTER TABLE ONLY public.segment_alembic_version
    ADD CONSTRAINT segment_alembic_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY public.segment_batches
    ADD CONSTRAINT segment_batches_arrival_key UNIQUE (arrival);

ALTER TABLE ONLY public.segment_batches
    ADD CONSTRAINT segment_batches_pkey PRIMARY KEY (batch_id);

ALTER TABLE ONLY public.segment_events
    ADD CONSTRAINT segment_events_pkey PRIMARY KEY (user_id, occurred_at, event_id);

ALTER TABLE ONLY public.segment_events_older
    ADD CONSTRAINT segment_events_older_pkey PRIMARY KEY (user_id, occurred_at, event_id);

ALTER TABLE ONLY public.segment_memberships
    ADD CONSTRAINT segment_memberships_pkey PRIMARY KEY (user_id, vendor, segment_name);

ALTER TABLE ONLY public.segment_outcomes
    ADD CONSTRAINT segment_outcomes_pkey PRIMARY KEY (seq, user_id, recorded_at);

ALTER TABLE ONLY public.segment_rejects
    ADD CONSTRAINT segment_rejects_pkey PRIMARY KEY (reject_id);

ALTER TABLE ONLY public.segment_settings
    ADD CONSTRAINT segment_settings_pkey PRIMARY KEY (one);

ALTER TABLE ONLY public.segment_source_positions
    ADD CONSTRAINT segment_source_positions_pkey PRIMARY KEY (source, bucket);

ALTER TABLE ONLY public.segment_sources
    ADD CONSTRAINT segment_sources_pkey PRIMARY KEY (source);

ALTER TABLE ONLY public.segment_suppression_key
    ADD CONSTRAINT segment_suppression_key_pkey PRIMARY KEY (one);

ALTER TABLE ONLY public.segment_suppressions
    ADD CONSTRAINT segment_suppressions_pkey PRIMARY KEY (hash);

ALTER TABLE ONLY public.webhook_cursors
    ADD CONSTRAINT webhook_cursors_pkey PRIMARY KEY (slot);

ALTER TABLE ONLY public.webhook_dead_letters
    ADD CONSTRAINT webhook_dead_letters_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.webhook_delivered
    ADD CONSTRAINT webhook_delivered_pkey PRIMARY KEY (slot, batch_id);

CREATE INDEX lake_fragments_written ON public.lake_fragments USING btree (destination, written_at);

COMMENT ON INDEX public.lake_fragments_written IS 'A lake''s newest files, and those not known to be there.';

CREATE INDEX segment_batches_in_order ON public.segment_batches USING btree (xact_id, batch_id);

COMMENT ON INDEX public.segment_batches_in_order IS 'The order in which batches go to the lake.';

CREATE INDEX segment_events_batch ON ONLY public.segment_events USING btree (batch_id);

CREATE INDEX segment_events_older_batch_id_idx ON public.segment_events_older USING btree (batch_id);

CREATE INDEX segment_memberships_members ON public.segment_memberships USING btree (vendor, segment_name, user_id) WHERE member;

CREATE INDEX webhook_dead_letters_of_slot ON public.webhook_dead_letters USING btree (slot, id);

COMMENT ON INDEX public.webhook_dead_letters_of_slot IS 'One listener''s dead letters, in order.';

ALTER INDEX public.segment_events_batch ATTACH PARTITION public.segment_events_older_batch_id_idx;

ALTER INDEX public.segment_events_pkey ATTACH PARTITION public.segment_events_older_pkey;

CREATE TRIGGER segment_events_0_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.segment_events FOR EACH STATEMENT EXECUTE FUNCTION public.segment_refuse_change();

COMMENT ON TRIGGER segment_events_0_append_only ON public.segment_events IS 'Events are never changed or removed.';

CREATE TRIGGER segment_events_0_append_only BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.segment_events_older FOR EACH STATEMENT EXECUTE FUNCTION public.segment_refuse_change();

CREATE TRIGGER segment_events_1_begin_batch BEFORE INSERT ON public.segment_events FOR EACH STATEMENT EXECUTE FUNCTION public.segment_events_begin_batch();

COMMENT ON TRIGGER segment_events_1_begin_batch ON public.segment_events IS 'Every statement that adds events is a batch.';

CREATE TRIGGER segment_events_2_end_batch AFTER INSERT ON public.segment_events FOR EACH STATEMENT EXECUTE FUNCTION public.segment_events_end_batch();

COMMENT ON TRIGGER segment_events_2_end_batch ON public.segment_events IS 'A batch is reduced in the transaction that adds it.';

CREATE TRIGGER segment_outcomes_0_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.segment_outcomes FOR EACH STATEMENT EXECUTE FUNCTION public.segment_refuse_change();

COMMENT ON TRIGGER segment_outcomes_0_append_only ON public.segment_outcomes IS 'Outcomes are never changed or removed.';

ALTER TABLE ONLY public.lake_fragments
    ADD CONSTRAINT lake_fragments_destination_fkey FOREIGN KEY (destination) REFERENCES public.lake_destinations(destination);

ALTER TABLE ONLY public.webhook_delivered
    ADD CONSTRAINT webhook_delivered_slot_fkey FOREIGN KEY (slot) REFERENCES public.webhook_cursors(slot) ON DELETE CASCADE;

CREATE PUBLICATION segment_changes WITH (publish = 'insert', publish_via_partition_root = true);

ALTER PUBLICATION segment_changes OWNER TO segment_owner;

COMMENT ON PUBLICATION segment_changes IS 'Toggles, first adds and first removes.';

CREATE PUBLICATION segment_toggles WITH (publish = 'insert', publish_via_partition_root = true);

ALTER PUBLICATION segment_toggles OWNER TO segment_owner;

COMMENT ON PUBLICATION segment_toggles IS 'Toggles: outcomes left and rejoined.';

ALTER PUBLICATION segment_changes ADD TABLE ONLY public.segment_outcomes (seq, batch_id, user_id, occurred_at, event_id, vendor, segment_name, value, remove, outcome, previous_event_id, previous_occurred_at, previous_value) WHERE ((outcome = ANY (ARRAY['left'::text, 'rejoined'::text, 'joined'::text, 'absent'::text])));

ALTER PUBLICATION segment_toggles ADD TABLE ONLY public.segment_outcomes (seq, batch_id, user_id, occurred_at, event_id, vendor, segment_name, value, remove, outcome, previous_event_id, previous_occurred_at, previous_value) WHERE ((outcome = ANY (ARRAY['left'::text, 'rejoined'::text])));

GRANT ALL ON SCHEMA public TO segment_owner;
GRANT USAGE ON SCHEMA public TO segment_loader;
GRANT USAGE ON SCHEMA public TO segment_listener;
GRANT USAGE ON SCHEMA public TO segment_reader;
GRANT ALL ON SCHEMA public TO segment_dbt;
GRANT USAGE ON SCHEMA public TO segment_lake;
GRANT USAGE ON SCHEMA public TO segment_keeper;

REVOKE ALL ON FUNCTION public.lake_forget(lake text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.lake_forget(lake text) TO segment_keeper;

REVOKE ALL ON FUNCTION public.lake_recount(lake text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.lake_recount(lake text) TO segment_keeper;

REVOKE ALL ON FUNCTION public.segment_add_partition(parent text, partition text, lower text, upper text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.segment_adopt() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.segment_begin_batch() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.segment_current_batch() FROM PUBLIC;
GRANT ALL ON FUNCTION public.segment_current_batch() TO segment_loader;

REVOKE ALL ON FUNCTION public.segment_day_batches(day date) FROM PUBLIC;
GRANT ALL ON FUNCTION public.segment_day_batches(day date) TO segment_keeper;

REVOKE ALL ON FUNCTION public.segment_day_partition(parent text, day date) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.segment_end_batch() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.segment_ensure_partitions(first_day date, last_day date) FROM PUBLIC;
GRANT ALL ON FUNCTION public.segment_ensure_partitions(first_day date, last_day date) TO segment_loader;

REVOKE ALL ON FUNCTION public.segment_erase_rejects(numbers bigint[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.segment_erase_rejects(numbers bigint[]) TO segment_keeper;

REVOKE ALL ON FUNCTION public.segment_erase_statistics() FROM PUBLIC;
GRANT ALL ON FUNCTION public.segment_erase_statistics() TO segment_keeper;

REVOKE ALL ON FUNCTION public.segment_erase_user(erased_user text, OUT events bigint, OUT outcomes bigint, OUT memberships bigint, OUT dead_letters bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION public.segment_erase_user(erased_user text, OUT events bigint, OUT outcomes bigint, OUT memberships bigint, OUT dead_letters bigint) TO segment_keeper;

REVOKE ALL ON FUNCTION public.segment_erasure_files(erased_user text, lake text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.segment_erasure_files(erased_user text, lake text) TO segment_keeper;

REVOKE ALL ON FUNCTION public.segment_erasure_finished(erased_user text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.segment_erasure_finished(erased_user text) TO segment_keeper;

REVOKE ALL ON FUNCTION public.segment_events_begin_batch() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.segment_events_end_batch() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.segment_leave(erased_user text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.segment_leave(erased_user text) TO segment_keeper;

REVOKE ALL ON FUNCTION public.segment_leave_awaited(erased_user text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.segment_leave_awaited(erased_user text) TO segment_keeper;

REVOKE ALL ON FUNCTION public.segment_move_horizon(until date) FROM PUBLIC;
GRANT ALL ON FUNCTION public.segment_move_horizon(until date) TO segment_keeper;

REVOKE ALL ON FUNCTION public.segment_prunable_days(parent text, until date) FROM PUBLIC;
GRANT ALL ON FUNCTION public.segment_prunable_days(parent text, until date) TO segment_keeper;

REVOKE ALL ON FUNCTION public.segment_prune_events(day date) FROM PUBLIC;
GRANT ALL ON FUNCTION public.segment_prune_events(day date) TO segment_keeper;

REVOKE ALL ON FUNCTION public.segment_prune_outcomes(day date, OUT outcomes bigint, OUT batches bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION public.segment_prune_outcomes(day date, OUT outcomes bigint, OUT batches bigint) TO segment_keeper;

REVOKE ALL ON FUNCTION public.segment_prune_rejects(until timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.segment_prune_rejects(until timestamp with time zone) TO segment_keeper;

REVOKE ALL ON FUNCTION public.segment_prune_sources() FROM PUBLIC;
GRANT ALL ON FUNCTION public.segment_prune_sources() TO segment_keeper;

REVOKE ALL ON FUNCTION public.segment_reduce() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.segment_refuse_change() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.segment_refuse_suppressed(batch bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.segment_refuse_suppressed_in(events regclass, batch bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.segment_require_exported(partition text, until timestamp with time zone, last_xact xid8, last_batch bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.segment_require_read_committed() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.segment_reset() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.segment_suppress(erased_user text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.segment_suppress(erased_user text) TO segment_keeper;

REVOKE ALL ON FUNCTION public.segment_suppressed(users text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.segment_suppressed(users text[]) TO segment_loader;

REVOKE ALL ON FUNCTION public.segment_user_hash(erased_user text) FROM PUBLIC;

GRANT SELECT,INSERT,UPDATE ON TABLE public.lake_destinations TO segment_lake;
GRANT SELECT ON TABLE public.lake_destinations TO segment_reader;
GRANT SELECT ON TABLE public.lake_destinations TO segment_keeper;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.lake_fragments TO segment_lake;
GRANT SELECT ON TABLE public.lake_fragments TO segment_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.lake_fragments TO segment_keeper;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.lake_removals TO segment_keeper;
GRANT SELECT,INSERT,DELETE ON TABLE public.lake_removals TO segment_lake;
GRANT SELECT ON TABLE public.lake_removals TO segment_reader;

GRANT SELECT ON TABLE public.segment_alembic_version TO segment_loader;
GRANT SELECT ON TABLE public.segment_alembic_version TO segment_listener;
GRANT SELECT ON TABLE public.segment_alembic_version TO segment_reader;
GRANT SELECT ON TABLE public.segment_alembic_version TO segment_lake;
GRANT SELECT ON TABLE public.segment_alembic_version TO segment_keeper;

GRANT SELECT ON TABLE public.segment_batches TO segment_listener;
GRANT SELECT ON TABLE public.segment_batches TO segment_reader;
GRANT SELECT ON TABLE public.segment_batches TO segment_dbt;
GRANT SELECT ON TABLE public.segment_batches TO segment_lake;

GRANT SELECT(events) ON TABLE public.segment_batches TO segment_loader;

GRANT USAGE ON SEQUENCE public.segment_event_seq TO segment_loader;

GRANT SELECT ON TABLE public.segment_events TO segment_reader;
GRANT SELECT ON TABLE public.segment_events TO segment_dbt;
GRANT SELECT ON TABLE public.segment_events TO segment_lake;

GRANT SELECT(user_id),INSERT(user_id) ON TABLE public.segment_events TO segment_loader;

GRANT SELECT(occurred_at),INSERT(occurred_at) ON TABLE public.segment_events TO segment_loader;

GRANT SELECT(event_id),INSERT(event_id) ON TABLE public.segment_events TO segment_loader;

GRANT SELECT(vendor),INSERT(vendor) ON TABLE public.segment_events TO segment_loader;

GRANT SELECT(segment_name),INSERT(segment_name) ON TABLE public.segment_events TO segment_loader;

GRANT SELECT(value),INSERT(value) ON TABLE public.segment_events TO segment_loader;

GRANT SELECT(remove),INSERT(remove) ON TABLE public.segment_events TO segment_loader;

GRANT SELECT(extra),INSERT(extra) ON TABLE public.segment_events TO segment_loader;

GRANT SELECT ON TABLE public.segment_outcomes TO segment_listener;
GRANT SELECT ON TABLE public.segment_outcomes TO segment_reader;
GRANT SELECT ON TABLE public.segment_outcomes TO segment_dbt;

GRANT SELECT ON TABLE public.segment_event_outcomes TO segment_reader;
GRANT SELECT ON TABLE public.segment_event_outcomes TO segment_dbt;

GRANT SELECT ON TABLE public.segment_memberships TO segment_reader;
GRANT SELECT ON TABLE public.segment_memberships TO segment_dbt;

GRANT USAGE ON SEQUENCE public.segment_reject_id TO segment_loader;

GRANT SELECT,INSERT,DELETE ON TABLE public.segment_rejects TO segment_loader;
GRANT SELECT ON TABLE public.segment_rejects TO segment_reader;
GRANT SELECT ON TABLE public.segment_rejects TO segment_dbt;
GRANT SELECT ON TABLE public.segment_rejects TO segment_keeper;

GRANT SELECT ON TABLE public.segment_settings TO segment_loader;
GRANT SELECT ON TABLE public.segment_settings TO segment_listener;
GRANT SELECT ON TABLE public.segment_settings TO segment_reader;
GRANT SELECT ON TABLE public.segment_settings TO segment_dbt;
GRANT SELECT ON TABLE public.segment_settings TO segment_lake;
GRANT SELECT ON TABLE public.segment_settings TO segment_keeper;

GRANT SELECT,INSERT,UPDATE ON TABLE public.segment_source_positions TO segment_loader;
GRANT SELECT ON TABLE public.segment_source_positions TO segment_reader;

GRANT SELECT,INSERT,UPDATE ON TABLE public.segment_sources TO segment_loader;
GRANT SELECT ON TABLE public.segment_sources TO segment_reader;

GRANT SELECT(finished_at) ON TABLE public.segment_suppressions TO segment_lake;

GRANT SELECT ON TABLE public.segment_toggles TO segment_listener;
GRANT SELECT ON TABLE public.segment_toggles TO segment_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.webhook_cursors TO segment_listener;
GRANT SELECT ON TABLE public.webhook_cursors TO segment_reader;

GRANT USAGE ON SEQUENCE public.webhook_dead_letter_id TO segment_listener;

GRANT SELECT,INSERT,DELETE ON TABLE public.webhook_dead_letters TO segment_listener;
GRANT SELECT ON TABLE public.webhook_dead_letters TO segment_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.webhook_delivered TO segment_listener;
GRANT SELECT ON TABLE public.webhook_delivered TO segment_reader;
