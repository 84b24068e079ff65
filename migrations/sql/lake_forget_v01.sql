create function lake_forget(lake text) returns boolean
language plpgsql security definer set search_path = public, pg_temp
as $$
begin
  delete from lake_fragments f where f.destination = lake;
  delete from lake_destinations d where d.destination = lake;
  return found;
end $$;

revoke execute on function lake_forget(text) from public;
grant execute on function lake_forget(text) to segment_keeper;

comment on function lake_forget(text) is 'Forgets a lake, whose files stay where they are, so that retention waits for it no longer; false: it is not known.';
