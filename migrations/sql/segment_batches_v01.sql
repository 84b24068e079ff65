-- The only table that knows transaction ids and the time of receipt: events and outcomes refer to it by batch_id.
create sequence segment_batch_id;
create sequence segment_arrival;

create table segment_batches (
  batch_id bigint primary key,
  arrival bigint not null unique,
  xact_id xid8 not null default pg_current_xact_id(),
  recorded_at timestamptz not null default now(),
  first_seq bigint not null,
  last_seq bigint not null,
  events bigint not null,
  outcomes bigint not null
);

grant select on segment_batches to segment_listener, segment_reader;

comment on sequence segment_batch_id is 'Drawn by the trigger before each statement that adds events. No role but the owner may: who could draw an id could slip events past the reducer.';
comment on sequence segment_arrival is 'The order in which batches took their keys.';
comment on table segment_batches is 'One row a reduced batch, that is: a statement that added events.';
comment on column segment_batches.batch_id is 'The id that the batch''s events and outcomes carry.';
comment on column segment_batches.arrival is 'The order of batches that share a key: a fold over (arrival, seq) repeats the state.';
comment on column segment_batches.xact_id is 'The transaction that committed it; means nothing after a dump and restore.';
comment on column segment_batches.recorded_at is 'When that transaction began: the time of receipt.';
comment on column segment_batches.first_seq is 'The least seq of its events.';
comment on column segment_batches.last_seq is 'The greatest seq of its events.';
comment on column segment_batches.events is 'How many events it has in segment_events.';
comment on column segment_batches.outcomes is 'How many of them have a row in segment_outcomes; the others are repeats.';
