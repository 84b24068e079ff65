-- The order in which the lake takes batches: by transaction, of which those below a snapshot's xmin are all over, so that no
-- batch can appear any more among those already passed. Neither batch_id nor arrival has that property.
create index segment_batches_in_order on segment_batches (xact_id, batch_id);

grant select on segment_batches, segment_events, segment_settings to segment_lake;

comment on index segment_batches_in_order is 'The order in which batches go to the lake.';
