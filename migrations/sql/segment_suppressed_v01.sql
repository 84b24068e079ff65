-- The lock comes before the look, each with a snapshot of its own, so the function is volatile: until the caller commits nobody is
-- put on the list who is not on it now.
create function segment_suppressed(users text[]) returns text[]
language plpgsql security definer set search_path = public, pg_temp
as $$
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

create function segment_user_hash(erased_user text) returns bytea
language sql stable set search_path = public, pg_temp
as $$ select sha256(k.key || convert_to(erased_user, 'UTF8')) from segment_suppression_key k $$;

revoke execute on function segment_suppressed(text[]), segment_user_hash(text) from public;
grant execute on function segment_suppressed(text[]) to segment_loader;

comment on function segment_suppressed(text[]) is 'Those of the users who have been erased. Until the transaction ends no other is.';
comment on function segment_user_hash(text) is 'What segment_suppressions knows a user by.';
