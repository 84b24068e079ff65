-- The roles that the migrations make, and what these may do with the database as such: what a dump does not carry. Run by psql in
-- the new database before a dump is restored into it, as a superuser or as a role that may create roles; it may run again. It is
-- no migration, and follows them: roles_v01.sql and the others say why each is as it is.
\set ON_ERROR_STOP on

do $$
declare
  wanted record;
begin
  for wanted in
    select * from (
      values
        ('segment_owner', 'nologin'), ('segment_loader', 'login'), ('segment_listener', 'login'), ('segment_reader', 'login'),
        ('segment_dbt', 'login'), ('segment_lake', 'login'), ('segment_keeper', 'login')
    ) as w (name, option)
    where not exists (select from pg_roles where rolname = w.name)
  loop
    execute format('create role %I %s', wanted.name, wanted.option);
  end loop;
end $$;

do $$
begin
  if not (select rolreplication from pg_roles where rolname = 'segment_listener') then
    alter role segment_listener replication;
  end if;
exception when insufficient_privilege then
  raise notice 'segment_listener has no REPLICATION: a superuser gives it with "alter role segment_listener replication".';
end $$;

-- Who restores gives the objects to their owners, so must be able to become these.
do $$
declare
  owner text;
begin
  foreach owner in array array['segment_owner', 'segment_dbt'] loop
    begin
      execute format('set local role %I', owner);
      reset role;
    exception when insufficient_privilege then
      execute format('grant %I to %I', owner, current_user);
    end;
  end loop;
end $$;

do $$
begin
  execute format('grant connect, temporary on database %I to segment_loader, segment_dbt', current_database());
  execute format(
    'grant connect on database %I to segment_listener, segment_reader, segment_lake, segment_keeper', current_database()
  );
end $$;
