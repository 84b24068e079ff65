-- A dump brings the old server's transaction ids, which can be greater than any of this one: a snapshot would not see those
-- batches, and later would seem to see them one by one. With the id of the transaction that adopts, every snapshot from its
-- commit on sees them all. Two callers at once: the second waits for the row, and then finds nothing to do.
create function segment_adopt_server() returns void
language plpgsql security definer set search_path = public, pg_temp
as $$
begin
  update segment_settings s
  set system_identifier = this.system_identifier
  from pg_control_system() this
  where s.system_identifier <> this.system_identifier;
  if not found then
    return;
  end if;

  update segment_batches set xact_id = pg_current_xact_id();
  delete from webhook_cursors;
end $$;

revoke execute on function segment_adopt_server() from public;

comment on function segment_adopt_server() is 'After a dump was restored on another server: makes every batch one that snapshots from now on see, forgets webhook_cursors, and records this server in segment_settings. On the server that is recorded it does nothing. The owner''s.';
