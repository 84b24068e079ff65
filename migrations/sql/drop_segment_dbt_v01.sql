-- What dbt built goes, in whichever schema; dbt builds it again. The role stays, as the others do, without rights in this database.
do $$
declare
  built record;
begin
  for built in
    select oid, case relkind when 'v' then 'view' when 'm' then 'materialized view' else 'table' end as kind
    from pg_class
    where relowner = 'segment_dbt'::regrole and relkind in ('v', 'm', 'r', 'p')
  loop
    if exists (select from pg_class where oid = built.oid) then
      execute format('drop %s %s cascade', built.kind, built.oid::regclass);
    end if;
  end loop;
exception when insufficient_privilege then
  raise exception 'What dbt built in schemas other than public is segment_dbt''s, and % may not act as that role.', current_user
    using errcode = 'insufficient_privilege', hint = format('Have an administrator run: grant segment_dbt to %I', current_user);
end $$;

set local role segment_owner;
revoke select on
  segment_events, segment_memberships, segment_outcomes, segment_batches, segment_rejects, segment_settings, segment_event_outcomes
from segment_dbt;
reset role;

revoke all on schema public from segment_dbt;

do $$
begin
  execute format('revoke all on database %I from segment_dbt', current_database());
end $$;
