revoke all on segment_alembic_version from segment_keeper;
revoke all on schema public from segment_keeper;

do $$
begin
  execute format('revoke all on database %I from segment_keeper', current_database());
end $$;
