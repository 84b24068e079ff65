{{ config(
    materialized='incremental',
    incremental_strategy='append',
    on_schema_change='fail',
    full_refresh=false,
    pre_hook=[
        "select pg_advisory_xact_lock(hashtextextended('{{ this.identifier }}', 0))",
        "{% if is_incremental() %} delete from {{ this }} {% endif %}",
    ],
) }}

-- A table that is filled anew where it stands: a new one in its place would drop what people have built on the old one. The cost grows with the square of how many of the compared segments a user is in; overlap_segments bounds it.
with largest as (
  select vendor, segment_name, count(*) as members
  from {{ source('segments', 'segment_memberships') }}
  where member
  group by vendor, segment_name
  order by members desc, vendor, segment_name
  limit {{ var('overlap_segments') }}
),

members as (
  select m.user_id, vendor, segment_name, l.members
  from {{ source('segments', 'segment_memberships') }} m
  join largest l using (vendor, segment_name)
  where m.member
)

select
  a.vendor as vendor_a, a.segment_name as segment_name_a, b.vendor as vendor_b, b.segment_name as segment_name_b,
  a.members as members_a, b.members as members_b, count(*) as shared_members,
  count(*)::double precision / (a.members + b.members - count(*)) as jaccard
from members a
join members b on b.user_id = a.user_id and (b.segment_name, b.vendor) > (a.segment_name, a.vendor)
group by a.vendor, a.segment_name, a.members, b.vendor, b.segment_name, b.members
