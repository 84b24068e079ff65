create table segment_sources (
  source text collate "C" primary key,
  fingerprint bytea,
  fingerprint_length integer,
  loaded bigint not null default 0,
  duplicates bigint not null default 0,
  rejected bigint not null default 0,
  first_seen_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

grant select, insert, update on segment_sources to segment_loader;
grant select on segment_sources to segment_reader;

comment on table segment_sources is 'What the loader has read from each source.';
comment on column segment_sources.source is 'A file''s absolute path, or the name given with --source.';
comment on column segment_sources.fingerprint is 'SHA-256 of the first fingerprint_length bytes: tells a replaced file from one that has grown. Null: a stream without positions.';
comment on column segment_sources.fingerprint_length is 'The lesser of 4096 and the file''s size when it was first seen.';
comment on column segment_sources.loaded is 'Events that came from it and were new.';
comment on column segment_sources.duplicates is 'Events that came from it and were known already.';
comment on column segment_sources.rejected is 'Lines that went to segment_rejects.';
comment on column segment_sources.first_seen_at is 'When it was first seen; since then, or since the file was replaced, the counts run.';
comment on column segment_sources.updated_at is 'When a batch of it was last committed.';
