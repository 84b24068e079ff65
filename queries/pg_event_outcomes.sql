-- Did each of the latest events change the status, or was it a repeat?
-- So many events; set another number with: psql -v rows=100 -f queries/pg_event_outcomes.sql
\if :{?rows} \else \set rows 20 \endif

select
  user_id, segment_name, vendor, occurred_at, case when remove then 'remove' else 'add' end as event, outcome,
  outcome in ('joined', 'rejoined', 'left') as changed, previous_event_id
from segment_event_outcomes
order by batch_id desc, seq desc
limit :rows;
