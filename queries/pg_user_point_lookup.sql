-- In which segments is this user, and in which was the user before?
-- One user; set another with: psql -v user=usr-0000a0 -f queries/pg_user_point_lookup.sql
\if :{?user} \else \set user usr-000000 \endif

select
  user_id, active_count, segment_count, active_segments,
  (select string_agg(segment::text, e'\n') from json_array_elements(segments) segment) as segments
from segment_profiles
where user_id = :'user';
