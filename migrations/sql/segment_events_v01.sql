-- The primary key is the event's identity: a redelivery conflicts with it, and it serves a user's history.
-- No identity columns: partitions are made by LIKE and attached. batch_id comes by default, so that no session can name one.
create sequence segment_event_seq;

create table segment_events (
  user_id text collate "C" not null,
  occurred_at timestamptz not null,
  event_id uuid not null,
  vendor integer not null,
  segment_name text collate "C" not null,
  value text collate "C",
  remove boolean not null default false,
  extra jsonb,
  seq bigint not null default nextval('segment_event_seq'),
  batch_id bigint not null default segment_current_batch(),
  primary key (user_id, occurred_at, event_id),
  constraint segment_events_user check (char_length(user_id) between 1 and 256),
  constraint segment_events_timestamp check (occurred_at >= '0001-01-01 00:00:00+00' and occurred_at < '10000-01-01 00:00:00+00'),
  constraint segment_events_vendor check (vendor > 0),
  constraint segment_events_segment check (char_length(segment_name) between 1 and 32),
  constraint segment_events_value check (value is null or not remove),
  constraint segment_events_extra check (
    extra is null
    or (
      jsonb_typeof(extra) = 'object'
      and not extra ?| array['event', 'timestamp', 'user', 'value', 'remove']
      and (
        not extra ? 'segment'
        or (jsonb_typeof(extra -> 'segment') = 'object' and not extra -> 'segment' ?| array['vendor', 'name'])
      )
    )
  )
) partition by range (occurred_at);

create index segment_events_batch on segment_events (batch_id);

grant insert (user_id, occurred_at, event_id, vendor, segment_name, value, remove, extra) on segment_events to segment_loader;
grant select (user_id, occurred_at, event_id, vendor, segment_name, value, remove, extra) on segment_events to segment_loader;
grant usage on sequence segment_event_seq to segment_loader;
grant select on segment_events to segment_reader;

comment on sequence segment_event_seq is 'Arrival of events within the database.';
comment on table segment_events is 'Every event, once; append-only, partitioned by the UTC day of occurred_at. COPY or insert the contract''s columns: triggers reduce each statement''s rows as one batch.';
comment on column segment_events.user_id is 'The user, 1 to 256 characters.';
comment on column segment_events.occurred_at is 'When it happened.';
comment on column segment_events.event_id is 'The event''s id; its identity is (event_id, user_id, occurred_at).';
comment on column segment_events.vendor is 'The vendor that the segment belongs to, from 1.';
comment on column segment_events.segment_name is 'The segment within the vendor, 1 to 32 characters.';
comment on column segment_events.value is 'A value associated with the addition; the empty string is one. Never beside remove.';
comment on column segment_events.remove is 'True: the user was removed from the segment; otherwise added.';
comment on column segment_events.extra is 'Fields that the contract does not name, those of segment under "segment"; null when there are none.';
comment on column segment_events.seq is 'Arrival within the database: drawn row by row; a key''s events keep the order in which they came.';
comment on column segment_events.batch_id is 'The batch that brought it: one row of segment_batches.';
