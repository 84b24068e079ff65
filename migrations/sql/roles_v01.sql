-- Roles belong to the cluster, not to the database: another database's migration may have made them, or be making them now.
-- The three that connect have no password: they come in by peer or certificate, or once an administrator gives them one.
do $$
declare
  wanted record;
begin
  for wanted in
    select * from (
      values ('segment_owner', 'nologin'), ('segment_loader', 'login'), ('segment_listener', 'login'), ('segment_reader', 'login')
    ) as w (name, option)
    where not exists (select from pg_roles where rolname = w.name)
  loop
    begin
      execute format('create role %I %s', wanted.name, wanted.option);
    exception when duplicate_object or unique_violation then
      null;
    end;
  end loop;
end $$;

-- Reading the stream needs REPLICATION, which only some roles may hand on.
do $$
begin
  if not (select rolreplication from pg_roles where rolname = 'segment_listener') then
    alter role segment_listener replication;
  end if;
exception
  when insufficient_privilege then
    raise notice 'segment_listener has no REPLICATION: a superuser gives it with "alter role segment_listener replication".';
  when internal_error then
    null;  -- another database's migration is altering the role in the same way at this moment
end $$;

-- Objects are made as their owner, so the migrating role must be able to become it.
do $$
begin
  begin
    set local role segment_owner;
    reset role;
  exception when insufficient_privilege then
    execute format('grant segment_owner to %I', current_user);
  end;
exception when insufficient_privilege then
  raise exception 'The role % may not act as segment_owner, so it cannot make the tables.', current_user
    using errcode = 'insufficient_privilege',
          hint = format('Have an administrator run: grant segment_owner to %I', current_user);
end $$;

-- The owner makes partitions for as long as the system lives; CREATE on the database it needs for the publications only.
do $$
begin
  execute format('grant create on database %I to segment_owner', current_database());
  execute format('grant connect, temporary on database %I to segment_loader', current_database());
  execute format('grant connect on database %I to segment_listener, segment_reader', current_database());
end $$;

grant usage, create on schema public to segment_owner;
grant usage on schema public to segment_loader, segment_listener, segment_reader;
