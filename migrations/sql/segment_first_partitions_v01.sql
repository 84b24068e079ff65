-- Events before first_day share one partition, whose name carries no day; today and tomorrow are made at once.
select segment_add_partition('segment_events', 'segment_events_older', 'minvalue', quote_literal(first_day::timestamp at time zone 'UTC'))
from segment_settings;

select segment_ensure_partitions((now() at time zone 'UTC')::date, (now() at time zone 'UTC')::date + 1);
