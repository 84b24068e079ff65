-- The publications are made: their owner needs no right to make more. Run by the role that granted it.
do $$
begin
  execute format('revoke create on database %I from segment_owner', current_database());
end $$;
