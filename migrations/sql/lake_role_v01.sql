-- As in roles_v01.sql: the role belongs to the cluster, and has no password.
do $$
begin
  if not exists (select from pg_roles where rolname = 'segment_lake') then
    create role segment_lake login;
  end if;
exception when duplicate_object or unique_violation then
  null;
end $$;

do $$
begin
  execute format('grant connect on database %I to segment_lake', current_database());
end $$;

grant usage on schema public to segment_lake;
grant select on segment_alembic_version to segment_lake;
