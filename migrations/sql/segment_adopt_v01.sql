-- A dump brings the old server's transaction ids. On this one they mean nothing: it may give them again, and its snapshots would
-- see them now or later as it happens. So each batch gets a tiny id, of a transaction that every snapshot takes for long over.
-- Batches share an id that are alike in what is kept in terms of those ids: which cursors' bases see them, and which lakes have
-- them. There are few such classes. Lakes have batches in one order, so that what one has is a part of what the next one has:
-- with ids in that order each still has the batches up to its position, and an announced cut the same batches as before. A base
-- is remade as the snapshot that sees all classes but those it did not see. What is noted in webhook_delivered goes by batch_id.
--
-- A cursor is left as if its slot were lost: its listener makes another, and reads what is not delivered from the tables. One
-- that never knew its base keeps a position, though of no meaning, so that its listener says that nobody can tell.
--
-- One statement, so that all of it is read as it was before. Two callers at once: the second waits for the row of
-- segment_settings, and then finds nothing to do.
create function segment_adopt() returns void
language plpgsql security definer set search_path = public, pg_temp
as $$
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

revoke execute on function segment_adopt() from public;

comment on function segment_adopt() is 'After a dump was restored on another server, or pg_upgrade: rewrites what is kept in terms of transaction ids, so that each listener and each lake goes on with exactly what it had not done, and records this server in segment_settings. On the server that is recorded it does nothing. The owner''s.';
