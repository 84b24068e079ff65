"""Erasure: a user goes from everywhere, and does not come back."""

from alembic import op

from migrations.objects import create, drop, refuse_if_others_depend

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

OBJECTS = (
    "erasure_tables_v01",
    "segment_suppressed_v01",
    "segment_suppress_v01",
    "segment_refuse_suppressed_v01",
    "segment_end_batch_v02",
    "segment_erase_v01",
)


def upgrade() -> None:
    """Make everything as segment_owner."""
    op.execute("set local role segment_owner")
    for name in OBJECTS:
        create(name)
    op.execute("reset role")


def downgrade() -> None:
    """Drop it all, the list of who was erased too, and put the older function back."""
    refuse_if_others_depend("lake_%")
    op.execute("set local role segment_owner")
    op.execute("drop function segment_end_batch()")
    create("segment_end_batch_v01")
    drop("erasure_v01")
    op.execute("reset role")
