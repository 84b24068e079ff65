-- The role that owns what dbt builds. dbt connects as whoever psql would connect as, and becomes this role.
do $$
begin
  if not exists (select from pg_roles where rolname = 'segment_dbt') then
    create role segment_dbt login;
  end if;
exception when duplicate_object or unique_violation then
  null;
end $$;

-- So who migrates can run dbt as well, where that is theirs to give.
do $$
begin
  begin
    set local role segment_dbt;
    reset role;
  exception when insufficient_privilege then
    execute format('grant segment_dbt to %I', current_user);
  end;
exception when insufficient_privilege then
  raise notice '% may not act as segment_dbt: whoever runs dbt needs "grant segment_dbt to …" from an administrator.', current_user;
end $$;

do $$
begin
  execute format('grant connect, temporary on database %I to segment_dbt', current_database());
end $$;

grant usage, create on schema public to segment_dbt;

set local role segment_owner;
grant select on
  segment_events, segment_memberships, segment_outcomes, segment_batches, segment_rejects, segment_settings, segment_event_outcomes
to segment_dbt;
reset role;
