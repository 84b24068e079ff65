-- As in roles_v01.sql: the role belongs to the cluster, and has no password. It removes rows only through functions that see to it
-- that nothing is lost.
do $$
begin
  if not exists (select from pg_roles where rolname = 'segment_keeper') then
    create role segment_keeper login;
  end if;
exception when duplicate_object or unique_violation then
  null;
end $$;

do $$
begin
  execute format('grant connect on database %I to segment_keeper', current_database());
end $$;

grant usage on schema public to segment_keeper;
grant select on segment_alembic_version to segment_keeper;
