-- What retention goes by, and what it leaves behind.
alter table segment_sources add column finished_at timestamptz;
alter table lake_destinations add column pruned bigint not null default 0;

comment on column segment_sources.finished_at is 'When the file had been read to its end; null: it is being read, is followed, or is a stream, which has no end that is known.';
comment on column lake_destinations.pruned is 'How many events the lake has that retention has since removed from the tables.';
comment on column segment_batches.events is 'How many events it has in segment_events; retention, which removes days of events, makes it less.';
comment on column segment_batches.outcomes is 'How many of them had a row in segment_outcomes when it was reduced; the others were repeats.';

grant select on segment_settings, lake_destinations, lake_fragments to segment_keeper;
