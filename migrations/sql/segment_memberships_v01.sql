-- The state, one row a key. fillfactor 80 leaves room on the page, so that most updates touch no index (HOT).
-- The was_ columns are the state before the last batch: the reducer reads it from its own upsert, where nobody can come between.
create table segment_memberships (
  user_id text collate "C" not null,
  vendor integer not null,
  segment_name text collate "C" not null,
  member boolean not null,
  first timestamptz,
  last timestamptz not null,
  value text collate "C",
  changed boolean not null,
  events bigint not null,
  value_at timestamptz,
  newest_event_id uuid not null,
  newest_value text collate "C",
  was_last timestamptz,
  was_member boolean,
  was_added boolean,
  was_event_id uuid,
  was_value text collate "C",
  primary key (user_id, vendor, segment_name)
) with (fillfactor = 80);

create index segment_memberships_members on segment_memberships (vendor, segment_name, user_id) where member;

grant select on segment_memberships to segment_reader;

comment on table segment_memberships is 'Who is, or was, in which segment: one row a user and segment. A removal is a soft delete: the row stays.';
comment on column segment_memberships.user_id is 'The user.';
comment on column segment_memberships.vendor is 'The vendor that the segment belongs to.';
comment on column segment_memberships.segment_name is 'The segment within the vendor.';
comment on column segment_memberships.member is 'The status after the newest event.';
comment on column segment_memberships.first is 'When the user was first added, by the least timestamp of the additions; null: never.';
comment on column segment_memberships.last is 'When the newest event happened.';
comment on column segment_memberships.value is 'The value of the newest event that has one; a removal keeps it.';
comment on column segment_memberships.changed is 'The newest event changed the status, that is: it was no repeat and no removal of an unknown user.';
comment on column segment_memberships.events is 'How many events the key has had, late ones and repeats included.';
comment on column segment_memberships.value_at is 'When the event happened that value comes from.';
comment on column segment_memberships.newest_event_id is 'The id of the newest event.';
comment on column segment_memberships.newest_value is 'The value of the newest event itself, null when it has none.';
comment on column segment_memberships.was_last is 'last before the last batch (the reducer''s).';
comment on column segment_memberships.was_member is 'member before the last batch (the reducer''s).';
comment on column segment_memberships.was_added is 'Whether first was known before the last batch (the reducer''s).';
comment on column segment_memberships.was_event_id is 'newest_event_id before the last batch, null when the key was new in it (the reducer''s).';
comment on column segment_memberships.was_value is 'newest_value before the last batch (the reducer''s).';
