"""Tables, reducer, views, publications and roles."""

from alembic import op

from migrations.objects import create, drop, refuse_if_others_depend, require_utf8

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

OBJECTS = (
    "segment_settings",
    "segment_batches",
    "segment_batch_watermarks",
    "segment_current_batch",
    "segment_events",
    "segment_memberships",
    "segment_outcomes",
    "segment_rejects",
    "segment_sources",
    "segment_source_positions",
    "segment_reduce",
    "segment_begin_batch",
    "segment_end_batch",
    "segment_batch_triggers",
    "segment_append_only",
    "segment_add_partition",
    "segment_ensure_partitions",
    "segment_first_partitions",
    "segment_reset",
    "segment_event_outcomes",
    "segment_toggles",
    "segment_publications",
)


def upgrade() -> None:
    """Make the roles, then everything else as segment_owner."""
    require_utf8()
    create("roles_v01")
    op.execute("set local role segment_owner")
    for name in OBJECTS:
        create(f"{name}_v01")
    op.execute("reset role")
    create("roles_made_v01")
    create("segment_alembic_version_v01")


def downgrade() -> None:
    """Drop it all, in reverse; the roles stay, without rights in this database."""
    refuse_if_others_depend()
    drop("core_v01")
