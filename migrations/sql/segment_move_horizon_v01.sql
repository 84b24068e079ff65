-- Called before the days below it go, in a transaction of its own. Days that are gone cannot be written to; the partition of all
-- that is older than the first day stays, so a constraint refuses what is expired there. It is not validated: the rows that it
-- speaks of are about to go.
create function segment_move_horizon(until date) returns void
language plpgsql security definer set search_path = public, pg_temp set timezone = 'UTC' set lock_timeout = '1s'
as $$
begin
  if until is null or until >= current_date then
    raise exception 'The horizon cannot be moved to %: events of today and of what is to come are always taken.', until
      using errcode = 'SG008',
            hint = 'Keep a day at least.';
  end if;
  if until::timestamptz <= (select horizon from segment_settings) then
    return;
  end if;

  lock table segment_events_older in access exclusive mode;
  update segment_settings set horizon = until;
  alter table segment_events_older drop constraint if exists segment_events_expired;
  execute format(
    'alter table segment_events_older add constraint segment_events_expired check (occurred_at >= %L) not valid', until::timestamptz
  );
  comment on constraint segment_events_expired on segment_events_older is 'Events older than the horizon are refused.';
end $$;

revoke execute on function segment_move_horizon(date) from public;
grant execute on function segment_move_horizon(date) to segment_keeper;

comment on function segment_move_horizon(date) is 'From now on events from before this UTC day are refused as expired. The horizon is never moved back.';
