{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key=['hour', 'vendor', 'segment_name'],
    on_schema_change='fail',
    full_refresh=false,
    indexes=[{'columns': ['counted_to']}],
    pre_hook="select pg_advisory_xact_lock(hashtextextended('{{ this.identifier }}', 0))",
) }}

-- Each batch is counted once, in the run after which no transaction older than it can appear: those below the oldest one running.
-- So late events add to their old hours, and a run that finds no new batch changes nothing. The lock keeps two runs from counting
-- the same batches. It is never made anew unasked: retention may have dropped events that it has counted.
with batches as (
  select batch_id
  from {{ source('segments', 'segment_batches') }}
  where
    xact_id < pg_snapshot_xmin(pg_current_snapshot())
    {% if is_incremental() %} and xact_id >= coalesce((select max(counted_to) from {{ this }}), '0') {% endif %}
),

-- The range lets each partition find these batches by its index.
news as (
  select
    date_trunc('hour', occurred_at, 'UTC') as hour, vendor, segment_name,
    count(*) filter (where not remove) as adds,
    count(*) filter (where remove) as removes,
    count(*) filter (where outcome = 'repeat') as repeats,
    count(*) filter (where outcome = 'late') as lates,
    count(*) filter (where outcome in ('left', 'rejoined')) as toggles
  from {{ source('segments', 'segment_event_outcomes') }}
  join batches using (batch_id)
  where batch_id between (select min(batch_id) from batches) and (select max(batch_id) from batches)
  group by 1, 2, 3
)

{% if is_incremental() %}
select
  hour, vendor, segment_name,
  n.adds + coalesce(a.adds, 0) as adds,
  n.removes + coalesce(a.removes, 0) as removes,
  n.repeats + coalesce(a.repeats, 0) as repeats,
  n.lates + coalesce(a.lates, 0) as lates,
  n.toggles + coalesce(a.toggles, 0) as toggles,
  pg_snapshot_xmin(pg_current_snapshot()) as counted_to
from news n
left join {{ this }} a using (hour, vendor, segment_name)
{% else %}
select *, pg_snapshot_xmin(pg_current_snapshot()) as counted_to from news
{% endif %}
