-- A destination has every batch up to (xact_id, batch_id), and no other. Fragments that are recorded but perhaps not there yet
-- hold what follows up to (until_xact_id, until_batch_id): the same batches give the same bytes, so that they can be written again.
create table lake_destinations (
  destination text collate "C" primary key,
  format text collate "C" not null,
  system_identifier bigint not null,
  xact_id xid8 not null default '0',
  batch_id bigint not null default 0,
  until_xact_id xid8,
  until_batch_id bigint,
  made_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint lake_destinations_format check (format in ('jsonl.gz', 'parquet')),
  constraint lake_destinations_until check ((until_xact_id is null) = (until_batch_id is null))
);

grant select, insert, update on lake_destinations to segment_lake;
grant select on lake_destinations to segment_reader;

comment on table lake_destinations is 'How far each lake has come: one row a destination.';
comment on column lake_destinations.destination is 'The folder, by its absolute path, or the object store''s URL.';
comment on column lake_destinations.format is 'jsonl.gz or parquet.';
comment on column lake_destinations.system_identifier is 'The server whose transaction ids the positions are: on another they mean nothing.';
comment on column lake_destinations.xact_id is 'The transaction of the last batch that the lake has; 0: it has none.';
comment on column lake_destinations.batch_id is 'The last batch that the lake has, in order of (xact_id, batch_id): it has all up to it.';
comment on column lake_destinations.until_xact_id is 'The transaction of the last batch in the fragments that are being put in place; null: none are.';
comment on column lake_destinations.until_batch_id is 'The last batch in the fragments that are being put in place; null: none are.';
comment on column lake_destinations.made_at is 'When the first export to it began.';
comment on column lake_destinations.updated_at is 'When this row was last written.';
