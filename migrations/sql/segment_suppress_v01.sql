-- Each transaction that adds events holds this lock, shared, from before it looks at the list until it commits. So once the list
-- has the user nobody can still commit who has not seen that.
create function segment_suppress(erased_user text) returns void
language plpgsql security definer set search_path = public, pg_temp set lock_timeout = '300ms'
as $$
begin
  perform segment_require_read_committed();
  if exists (select from segment_suppressions where hash = segment_user_hash(erased_user)) then
    return;
  end if;
  perform pg_advisory_xact_lock(hashtextextended('pgsegments suppressions', 0));
  insert into segment_suppressions (hash) values (segment_user_hash(erased_user)) on conflict do nothing;
  update segment_suppression_key set one = one;  -- a transaction with an older snapshot is refused by it
end $$;

revoke execute on function segment_suppress(text) from public;
grant execute on function segment_suppress(text) to segment_keeper;

comment on function segment_suppress(text) is 'From now on no event of the user is taken. Raises lock_not_available where a transaction that adds events is open for long.';
