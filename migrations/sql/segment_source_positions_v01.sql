-- Users fall into 16 fixed buckets by hash, which a loader's connections share out among them: each bucket's position commits
-- with its batch, so a loader that was killed goes on exactly, with the same number of connections or another.
create table segment_source_positions (
  source text collate "C" not null,
  bucket smallint not null check (bucket between 0 and 15),
  position bigint not null,
  primary key (source, bucket)
);

grant select, insert, update on segment_source_positions to segment_loader;
grant select on segment_source_positions to segment_reader;

comment on table segment_source_positions is 'How far each source has been read, a hash bucket of users.';
comment on column segment_source_positions.source is 'The source, as in segment_sources.';
comment on column segment_source_positions.bucket is 'CRC-32 of the user (of a bad line: of its position), modulo 16.';
comment on column segment_source_positions.position is 'Byte offset: every line of the bucket that starts below it is done.';
