-- What follows from what was brought together, for the checks.

-- Each event as it came first: the same identity with other content, later in its source, is a conflict.
create unlogged table chaos.events as
select distinct on (event_id, occurred_at, user_id) *
from chaos.lines where codes is null
order by event_id, occurred_at, user_id, source, position;

update chaos.lines l set codes = '{conflict}'
from chaos.events e
where l.codes is null
  and (l.event_id, l.occurred_at, l.user_id) = (e.event_id, e.occurred_at, e.user_id)
  and (l.vendor, l.segment_name, l.value, l.remove, l.extra)
    is distinct from (e.vendor, e.segment_name, e.value, e.remove, e.extra);

create view chaos.sent as
select event_id, occurred_at, user_id, vendor, segment_name, value, remove, extra from chaos.events;

create view chaos.recorded as
select event_id, occurred_at, user_id, vendor, segment_name, value, remove, extra from segment_events;

create view chaos.arrived as
select event_id, occurred_at, user_id, vendor, segment_name, value, remove, extra, arrival, seq
from segment_events join segment_batches using (batch_id);

-- Toggles in the order in which they were recorded.
create unlogged table chaos.toggles as
select t.*, row_number() over (order by b.arrival, t.seq) as rank
from segment_toggles t join segment_batches b using (batch_id);

-- Documents that were accepted, each for the nth time; next_at: when the next accepted call came, before which this one was noted.
create unlogged table chaos.acceptances as
select d.*, c.received_at, c.answered_at, c.broken, c.replay, c.next_at,
  row_number() over (partition by event_id, occurred_at, user_id order by d.number, d.place) as nth
from chaos.documents d
join (select *, lead(received_at) over (order by number) as next_at from chaos.calls) c using (number);

create index on chaos.acceptances (event_id, occurred_at, user_id, nth);
create index on chaos.toggles (event_id, occurred_at, user_id);
analyze chaos.events, chaos.acceptances, chaos.toggles, chaos.lake;

-- Documents that came again, and what explains it: the answer of the time before was broken, or while a fault was there no later
-- call than that had been accepted.
create unlogged table chaos.again as
select a.event_id, a.occurred_at, a.user_id, a.number, p.number as before, p.answered_at as answered_before,
  coalesce(nullif(p.broken, ''), (
    select kind from chaos.excuses e
    where p.received_at <= e.ended and (p.next_at >= e.began or p.next_at is null)
    order by e.began desc limit 1
  )) as explanation
from chaos.acceptances a
join chaos.acceptances p using (event_id, occurred_at, user_id)
where a.nth > 1 and p.nth = a.nth - 1;
