-- In which segments is this user, and in which was the user before?
-- One user; set another with: psql -v user=usr-0000a0 -f queries/pg_user_point_lookup.sql
\if :{?user} \else \set user usr-000000 \endif

select user_id, segment_name, vendor, case when member then 'active' else 'inactive' end as status, first, last, value, changed, events
from segment_memberships
where user_id = :'user'
order by member desc, segment_name, vendor;
