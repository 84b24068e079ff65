-- batches says, whatever becomes of transaction ids, what a destination has: every batch has an event, so it is in a fragment.
create table lake_fragments (
  destination text collate "C" not null references lake_destinations,
  path text collate "C" not null,
  batches int8multirange not null,
  rows bigint not null,
  bytes bigint not null,
  checksum bytea not null,
  recorded_at timestamptz not null default now(),
  written_at timestamptz,
  primary key (destination, path)
);

create index lake_fragments_written on lake_fragments (destination, written_at);

grant select, insert, update, delete on lake_fragments to segment_lake;
grant select on lake_fragments to segment_reader;

comment on table lake_fragments is 'The files that the lakes consist of: recorded before they are there, and marked once they are.';
comment on column lake_fragments.destination is 'The lake: a row of lake_destinations.';
comment on column lake_fragments.path is 'The file, below the destination.';
comment on column lake_fragments.batches is 'The batches (segment_batches.batch_id) that it has events of: all that they have of its vendor and hour, together with the fragments beside it.';
comment on column lake_fragments.rows is 'How many events it has.';
comment on column lake_fragments.bytes is 'Its size.';
comment on column lake_fragments.checksum is 'SHA-256 of the whole file; its name has the first 16 hex digits.';
comment on column lake_fragments.recorded_at is 'When it was recorded: it was complete then, under another name.';
comment on column lake_fragments.written_at is 'Since when it is known to be there; null: it may not be yet.';
comment on index lake_fragments_written is 'A lake''s newest files, and those not known to be there.';
