-- One row. first_day is fixed here: days before it share one partition, so that a hostile or historic timestamp makes no
-- thousands of tables.
create table segment_settings (
  one boolean primary key default true check (one),
  first_day date not null default (now() at time zone 'UTC')::date - 400,
  horizon timestamptz,
  system_identifier bigint not null
);

insert into segment_settings (system_identifier) select system_identifier from pg_control_system();

grant select on segment_settings to segment_loader, segment_listener, segment_reader;

comment on table segment_settings is 'What holds for the whole database; one row.';
comment on column segment_settings.one is 'Always true: keeps the table at one row.';
comment on column segment_settings.first_day is 'First UTC day whose events have a partition of their own; earlier ones share segment_events_older.';
comment on column segment_settings.horizon is 'Events older than this are rejected as expired; null until retention has dropped events.';
comment on column segment_settings.system_identifier is 'The server on which the database was migrated: positions in another server''s log mean nothing here.';
