-- Made by alembic before the first migration. The loader reads it to tell an unmigrated or too old database.
alter table segment_alembic_version owner to segment_owner;

grant select on segment_alembic_version to segment_loader, segment_listener, segment_reader;

comment on table segment_alembic_version is 'The last migration that ran.';
comment on column segment_alembic_version.version_num is 'Its number.';
