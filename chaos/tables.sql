-- What was sent, received, exported and done, as it is brought together at the end of a run.
create schema chaos;

-- The lines of the sources: the codes that a line may be rejected with, or its event.
create unlogged table chaos.lines (
  source text, exact boolean, position bigint, codes text[],
  event_id uuid, occurred_at timestamptz, user_id text collate "C", vendor integer, segment_name text collate "C",
  value text, remove boolean, extra jsonb
);

-- The calls that were accepted, numbered as they came; broken: why the caller could not know.
create unlogged table chaos.calls (
  number bigint primary key, received_at double precision, answered_at double precision, broken text, replay boolean
);

create unlogged table chaos.documents (
  number bigint, place integer,
  event_id uuid, occurred_at timestamptz, user_id text collate "C", vendor integer, segment_name text collate "C",
  value text, remove boolean,
  previous_event_id uuid, previous_occurred_at timestamptz, previous_user_id text collate "C", previous_vendor integer,
  previous_segment_name text collate "C", previous_value text, previous_remove boolean
);

create unlogged table chaos.refusals (
  refused_at double precision, event_id uuid, occurred_at timestamptz, user_id text collate "C"
);

create unlogged table chaos.lake (
  event_id uuid, occurred_at timestamptz, user_id text collate "C", vendor integer, segment_name text collate "C",
  value text, remove boolean, extra jsonb, arrival bigint, seq bigint
);

-- The Unix times between which a fault was there, with a moment around it: the call that was the last one then may come again.
create unlogged table chaos.excuses (kind text, began double precision, ended double precision);
