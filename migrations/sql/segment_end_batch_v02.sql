-- A statement can run inside another one (a function called by INSERT … SELECT, or by COPY's WHERE). The inner one draws a new
-- batch id, and the outer one's earlier events would then never be reduced. So before reducing: whatever this transaction's
-- batches have brought must be in segment_batches already. Usually the transaction has one statement, and nothing is looked up.
create or replace function segment_end_batch() returns void
language plpgsql set search_path = public, pg_temp
as $$
declare
  this constant bigint := currval('segment_batch_id');
  first_id constant bigint := currval('segment_batch_floor');
  unreduced bigint[];
begin
  if first_id < this then
    unreduced := array(
      select id from generate_series(first_id, this - 1) as earlier (id)
      where not exists (select from segment_batches where batch_id = id) order by id
    );
    -- Asked once more with the events, in one snapshot: another session may have committed some of these batches meanwhile.
    if unreduced <> '{}' and exists (
      select from segment_events e
      where e.batch_id = any (unreduced) and not exists (select from segment_batches b where b.batch_id = e.batch_id)
    ) then
      raise exception 'Events were added from within a statement that adds events, so they cannot be told apart as batches.'
        using errcode = 'SG003',
              hint = 'Add the events in statements of their own, one after the other.';
    end if;
    perform setval('segment_batch_floor', coalesce(unreduced[1], this));
  end if;

  perform segment_refuse_suppressed(this);
  perform segment_reduce();
end $$;
