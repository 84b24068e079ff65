-- The older cursor cannot say which batches of a past were delivered: one that was within its past begins that anew.
alter table webhook_cursors
drop column base,
drop column wanted,
drop column version,
drop column writer,
add column past_arrival bigint not null default 0,
add column past_seq bigint not null default 0;
drop table webhook_delivered;
comment on column webhook_cursors.past_arrival is 'segment_batches.arrival of the last one delivered of the past; 0: none.';
comment on column webhook_cursors.past_seq is 'seq of the last one delivered of the past; 0: none.';
