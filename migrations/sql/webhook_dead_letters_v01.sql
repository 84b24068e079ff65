-- json, not jsonb: the document's text is kept as it was posted.
create sequence webhook_dead_letter_id;

create table webhook_dead_letters (
  id bigint primary key default nextval('webhook_dead_letter_id'),
  slot text collate "C" not null,
  document json not null,
  webhook_id text collate "C" not null,
  status integer,
  answer text not null,
  set_aside_at timestamptz not null default now()
);

create index webhook_dead_letters_of_slot on webhook_dead_letters (slot, id);

grant select, insert, delete on webhook_dead_letters to segment_listener;
grant usage on sequence webhook_dead_letter_id to segment_listener;
grant select on webhook_dead_letters to segment_reader;

comment on sequence webhook_dead_letter_id is 'Numbers the dead letters.';
comment on table webhook_dead_letters is 'Documents that a receiver refused for good, kept as they were posted.';
comment on column webhook_dead_letters.id is 'Its number: in order of setting aside.';
comment on column webhook_dead_letters.slot is 'The listener''s slot, as in webhook_cursors; that row may be gone.';
comment on column webhook_dead_letters.document is 'The document, in the text that was posted.';
comment on column webhook_dead_letters.webhook_id is 'The id of the call that was refused.';
comment on column webhook_dead_letters.status is 'The HTTP status that it was refused with; null: there was none.';
comment on column webhook_dead_letters.answer is 'Why it was refused, for people: what the receiver answered.';
comment on column webhook_dead_letters.set_aside_at is 'When the transaction began that set it aside.';
comment on index webhook_dead_letters_of_slot is 'One listener''s dead letters, in order.';
