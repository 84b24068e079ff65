-- In which segments are these users now?
-- A range of users; set others with: psql -v from_user=usr-0000a0 -v to_user=usr-0000af -f queries/pg_user_active_segments.sql
\if :{?from_user} \else \set from_user usr-000000 \endif
\if :{?to_user} \else \set to_user usr-00000f \endif

select user_id, active_count, active_segments
from segment_profiles
where user_id between :'from_user' and :'to_user' and active_count > 0
order by user_id;
