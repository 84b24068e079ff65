-- In which segments are these users now?
-- A range of users; set others with: psql -v from_user=usr-0000a0 -v to_user=usr-0000af -f queries/pg_user_active_segments.sql
\if :{?from_user} \else \set from_user usr-000000 \endif
\if :{?to_user} \else \set to_user usr-00000f \endif

select user_id, segment_name, vendor, first, last, value
from segment_memberships
where user_id between :'from_user' and :'to_user' and member
order by user_id, segment_name, vendor;
