-- The slot is the truth while it lives; this row is what a listener goes on from inside one transaction, and when the slot is
-- gone. Toggles from before the slot (its past) are read from segment_outcomes, in order of (arrival, seq). Where the slot takes
-- over, the snapshot says: the slot does not stream the transactions that it sees.
create table webhook_cursors (
  slot text collate "C" primary key,
  publication text collate "C" not null,
  lsn pg_lsn,
  commit_lsn pg_lsn,
  documents bigint not null default 0,
  past text collate "C" not null default 'none',
  past_snapshot pg_snapshot,
  past_arrival bigint not null default 0,
  past_seq bigint not null default 0,
  committed_at timestamptz,
  delivered bigint not null default 0,
  called_at timestamptz,
  answer text,
  updated_at timestamptz not null default now(),
  constraint webhook_cursors_documents check ((commit_lsn is null) = (documents = 0)),
  constraint webhook_cursors_past check (past in ('none', 'wanted', 'begun', 'done')),
  constraint webhook_cursors_past_snapshot check ((past_snapshot is null) = (past in ('none', 'wanted')))
);

grant select, insert, update, delete on webhook_cursors to segment_listener;
grant select on webhook_cursors to segment_reader;

comment on table webhook_cursors is 'How far each listener has come: one row a slot.';
comment on column webhook_cursors.slot is 'The replication slot that the listener streams.';
comment on column webhook_cursors.publication is 'The publication that it streams: what is delivered.';
comment on column webhook_cursors.lsn is 'Everything before it in the log has been delivered; null until the slot is made.';
comment on column webhook_cursors.commit_lsn is 'Where the transaction commits of which a part has been delivered; null: none is begun.';
comment on column webhook_cursors.documents is 'How many documents of that transaction have been delivered; 0: none is begun.';
comment on column webhook_cursors.past is 'none: delivery began with the slot; wanted: toggles recorded before it are to be delivered and the slot is not made yet; begun: they are being delivered; done: they have been.';
comment on column webhook_cursors.past_snapshot is 'Sees the transactions that the slot does not stream, because they were there before it; null while past is none or wanted.';
comment on column webhook_cursors.past_arrival is 'segment_batches.arrival of the last one delivered of the past; 0: none.';
comment on column webhook_cursors.past_seq is 'seq of the last one delivered of the past; 0: none.';
comment on column webhook_cursors.committed_at is 'When the last delivered transaction committed.';
comment on column webhook_cursors.delivered is 'How many documents have been delivered, in all.';
comment on column webhook_cursors.called_at is 'When the receiver was last called.';
comment on column webhook_cursors.answer is 'What the receiver answered last, for people.';
comment on column webhook_cursors.updated_at is 'When this row was last written.';
