-- The log of what events did, and the outbox that the listener streams. An event has one outcome at most, so the event's seq
-- identifies it. Partitioned by the day of recording, so that days which every listener has delivered can go.
create table segment_outcomes (
  seq bigint not null,
  recorded_at timestamptz not null,
  batch_id bigint not null,
  user_id text collate "C" not null,
  occurred_at timestamptz not null,
  event_id uuid not null,
  vendor integer not null,
  segment_name text collate "C" not null,
  value text collate "C",
  remove boolean not null,
  outcome text collate "C" not null,
  previous_event_id uuid,
  previous_occurred_at timestamptz,
  previous_value text collate "C",
  primary key (seq, user_id, recorded_at),
  constraint segment_outcomes_outcome check (outcome in ('joined', 'rejoined', 'left', 'absent', 'late'))
) partition by range (recorded_at);

grant select on segment_outcomes to segment_listener, segment_reader;

comment on table segment_outcomes is 'What each event did, in the order of segment_batches.arrival, then seq; an event with no row here is a repeat. Append-only, partitioned by the UTC day of recorded_at.';
comment on column segment_outcomes.seq is 'The event''s seq.';
comment on column segment_outcomes.recorded_at is 'When the transaction began that recorded it.';
comment on column segment_outcomes.batch_id is 'The event''s batch.';
comment on column segment_outcomes.user_id is 'The user.';
comment on column segment_outcomes.occurred_at is 'When the event happened.';
comment on column segment_outcomes.event_id is 'The event''s id.';
comment on column segment_outcomes.vendor is 'The vendor that the segment belongs to.';
comment on column segment_outcomes.segment_name is 'The segment within the vendor.';
comment on column segment_outcomes.value is 'The event''s value.';
comment on column segment_outcomes.remove is 'True: a removal; otherwise an addition.';
comment on column segment_outcomes.outcome is 'joined: added for the first time; rejoined: added again after a removal; left: removed; absent: a removal of a user with no event in the segment; late: older than the newest event of its key.';
comment on column segment_outcomes.previous_event_id is 'The id of the key''s newest event before this one; null: there was none, or this one is late.';
comment on column segment_outcomes.previous_occurred_at is 'When that previous event happened.';
comment on column segment_outcomes.previous_value is 'The value of that previous event.';
