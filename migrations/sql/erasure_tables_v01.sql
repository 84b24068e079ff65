-- What erasure leaves behind: that a user is not to come back, without saying who. Whoever reads the list and not the key cannot
-- tell whether a name that they guess is in it.
create table segment_suppression_key (
  one boolean primary key default true check (one),
  key bytea not null default sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8'))
);

insert into segment_suppression_key default values;

create table segment_suppressions (
  hash bytea primary key,
  suppressed_at timestamptz not null default now(),
  leaving xid8,
  batches int8multirange not null default '{}',
  everywhere boolean not null default false,
  finished_at timestamptz
);

create table lake_removals (
  destination text collate "C" not null,
  path text collate "C" not null,
  primary key (destination, path)
);

alter table segment_sources add column suppressed bigint not null default 0;

grant select on segment_rejects to segment_keeper;
grant select, insert, update, delete on lake_fragments, lake_removals to segment_keeper;
grant select, insert, delete on lake_removals to segment_lake;
grant select on lake_removals to segment_reader;
grant select (finished_at) on segment_suppressions to segment_lake;

comment on table segment_suppression_key is 'What the hashes of segment_suppressions are made with; one row, which only the owner reads.';
comment on column segment_suppression_key.one is 'Always true: keeps the table at one row.';
comment on column segment_suppression_key.key is 'Random.';
comment on table segment_suppressions is 'Users who have been erased, and whose events are not taken any more: a row each. segment_reset() leaves it as it is.';
comment on column segment_suppressions.hash is 'SHA-256 of the key, followed by the user in UTF-8.';
comment on column segment_suppressions.suppressed_at is 'When erasing began.';
comment on column segment_suppressions.leaving is 'The transaction that may add the user''s last removals.';
comment on column segment_suppressions.batches is 'The batches that had events of the user: every listener delivers them before the user''s rows go, and the lakes'' files of these are searched.';
comment on column segment_suppressions.everywhere is 'Whether retention had removed events, so that all files of the lakes are searched.';
comment on column segment_suppressions.finished_at is 'When the user was gone everywhere; null: lake erase is to be run again.';
comment on table lake_removals is 'Files of the lakes that were replaced and are to be removed: no longer recorded in lake_fragments, and perhaps there still.';
comment on column lake_removals.destination is 'The lake: a row of lake_destinations.';
comment on column lake_removals.path is 'The file, below the destination.';
comment on column segment_sources.suppressed is 'Lines that came from it for users who have been erased: nothing of them is kept.';
