-- What a listener has delivered, in terms that outlive its slot and its server: everything that the cursor's base sees and, of the
-- batches that it does not see, the toggles up to a seq. The base is renewed as delivery goes on, so few rows are here at a time.
alter table webhook_cursors
add column base pg_snapshot,
add column wanted text[] collate "C" not null default '{}',
add column version bigint not null default 0,
add column writer uuid;

create table webhook_delivered (
  slot text collate "C" references webhook_cursors on delete cascade,
  batch_id bigint,
  last_seq bigint not null,
  primary key (slot, batch_id)
);

-- What was the cursor's progress within the past is the same in these terms. Of one whose past is over nobody has noted what came
-- by the stream: its base is not known until its listener runs.
insert into webhook_delivered (slot, batch_id, last_seq)
select c.slot, b.batch_id, case when b.arrival = c.past_arrival then c.past_seq else b.last_seq end
from webhook_cursors c
join segment_batches b on b.arrival <= c.past_arrival and pg_visible_in_snapshot(b.xact_id, c.past_snapshot)
where c.past = 'begun';

alter table webhook_cursors drop column past_arrival, drop column past_seq;

grant select, insert, update, delete on webhook_delivered to segment_listener;
grant select on webhook_delivered to segment_reader;

comment on column webhook_cursors.base is 'Everything that it sees has been delivered; null: nothing, or it is not known yet.';
comment on column webhook_cursors.wanted is 'What is delivered: vendors and segments as listener run --only has them; empty: all.';
comment on column webhook_cursors.version is 'How often it was written. Who writes says which one it knows: so nobody overwrites what another has written since, or what a server has that was a standby and lacks the latest.';
comment on column webhook_cursors.writer is 'The listener that wrote it last, which may write again when it has not heard of a commit.';
comment on table webhook_delivered is 'Batches of which toggles have been delivered since the base in webhook_cursors, which does not see them.';
comment on column webhook_delivered.slot is 'The listener''s slot.';
comment on column webhook_delivered.batch_id is 'The batch.';
comment on column webhook_delivered.last_seq is 'Its toggles up to this seq have been delivered, or were not wanted.';
