create sequence segment_reject_id;

create table segment_rejects (
  reject_id bigint primary key default nextval('segment_reject_id'),
  source text collate "C" not null,
  position bigint not null,
  bytes bytea not null,
  length bigint not null,
  sha256 bytea,
  code text collate "C" not null,
  reason text not null,
  rejected_at timestamptz not null default now()
);

grant select, insert on segment_rejects to segment_loader;
grant usage on sequence segment_reject_id to segment_loader;
grant select on segment_rejects to segment_reader;

comment on sequence segment_reject_id is 'Numbers the rejects.';
comment on table segment_rejects is 'Quarantine: lines that are no valid event, kept as they came.';
comment on column segment_rejects.reject_id is 'For loader rejects show.';
comment on column segment_rejects.source is 'The loader''s source: a file''s path or the name given.';
comment on column segment_rejects.position is 'Byte offset of the line in its source.';
comment on column segment_rejects.bytes is 'The line as it came, without its line end; of an over-long one the first 64 KiB.';
comment on column segment_rejects.length is 'Bytes in the whole line.';
comment on column segment_rejects.sha256 is 'Hash of the whole line; only where bytes is cut.';
comment on column segment_rejects.code is 'What is wrong, for programs: invalid_json, duplicate_key, invalid_user, …, future, expired, conflict, refused.';
comment on column segment_rejects.reason is 'What is wrong, for people.';
comment on column segment_rejects.rejected_at is 'When the transaction began that recorded it.';
