"""Retention: what has had its time goes, through functions that see to it that nothing is lost."""

from alembic import op
from alembic.util import CommandError

from migrations.objects import create, drop, refuse_if_others_depend

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

OBJECTS = (
    "retention_columns_v01",
    "segment_move_horizon_v01",
    "segment_day_batches_v01",
    "segment_prunable_days_v01",
    "segment_prune_events_v01",
    "segment_prune_outcomes_v01",
    "segment_prune_rest_v01",
    "lake_forget_v01",
    "segment_ensure_partitions_v02",
    "segment_reset_v03",
)


def upgrade() -> None:
    """Make the role, then everything else as segment_owner."""
    create("keeper_role_v01")
    op.execute("set local role segment_owner")
    for name in OBJECTS:
        create(name)
    op.execute("reset role")


def downgrade() -> None:
    """Drop what was made, and put the older functions back; the role stays, without rights in this database."""
    refuse_if_others_depend("lake_%")
    refuse_if_pruned()
    drop("retention_v01")
    op.execute("set local role segment_owner")
    op.execute("drop function segment_ensure_partitions(date, date)")
    create("segment_ensure_partitions_v01")
    create("segment_reset_v02")
    op.execute("reset role")


def refuse_if_pruned() -> None:
    """Raise where older revisions would take for lost what retention has removed."""
    if op.get_bind().exec_driver_sql("select from segment_settings where horizon is not null").all():
        raise CommandError(
            "Retention has removed events, which older revisions know nothing of, so nothing was changed: "
            "stay, or empty the database first with select segment_reset()."
        )
