-- Who is in the segments of this vendor now?
-- One vendor, one segment or all, and at most so many rows; set others with:
-- psql -v vendor=3 -v segment=seg-C -v rows=1000 -f queries/pg_segment_membership.sql
\if :{?vendor} \else \set vendor 1 \endif
\if :{?segment} \else \set segment '' \endif
\if :{?rows} \else \set rows 50 \endif

select segment_name, user_id, first, last, value
from segment_memberships
where vendor = :vendor and (segment_name = :'segment' or :'segment' = '') and member
order by segment_name, user_id
limit :rows;
