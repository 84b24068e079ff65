-- Session memory that no session can forge: setval() leaves its value in currval() of the calling session alone, and only the
-- owner may call it. See segment_begin_batch().
create sequence segment_batch_transaction;
create sequence segment_batch_floor;

comment on sequence segment_batch_transaction is 'currval: the transaction to which this session''s segment_batch_floor belongs.';
comment on sequence segment_batch_floor is 'currval: every batch that this session began in its transaction has this id or a greater one.';
