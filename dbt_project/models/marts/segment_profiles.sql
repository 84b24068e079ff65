-- A row a user, made when it is asked for, along the primary key of segment_memberships. The JSON is put together as text: with
-- json_build_object() and json_strip_nulls() the same profiles take twice as long.
with memberships as (
  select
    user_id, vendor, segment_name, member,
    replace(to_char(first at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '.000000', '') as first,
    replace(to_char(last at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '.000000', '') as last,
    value
  from {{ source('segments', 'segment_memberships') }}
)

select
  user_id,
  (
    '[' || string_agg(
      '{"segment": {"vendor": ' || vendor || ', "name": ' || to_json(segment_name)
      || coalesce('}, "first": "' || first || '"', '}')
      || ', "last": "' || last
      || case when member then '", "member": true' else '", "member": false' end
      || coalesce(', "value": ' || to_json(value) || '}', '}'),
      ', ' order by segment_name, vendor
    ) || ']'
  )::json as segments,
  coalesce(array_agg(segment_name order by segment_name, vendor) filter (where member), '{}') as active_segments,
  count(*) filter (where member) as active_count,
  count(*) as segment_count
from memberships
group by user_id
