"""`segment_reset()` forgets the lakes too, and the loader's role may count the events that there are."""

from alembic import op

from migrations.objects import create

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the function, and grant, as segment_owner."""
    op.execute("set local role segment_owner")
    create("segment_reset_v02")
    create("segment_batches_counted_v01")
    op.execute("reset role")


def downgrade() -> None:
    """Put back the function that knows no lakes."""
    op.execute("set local role segment_owner")
    op.execute("revoke select (events) on segment_batches from segment_loader")
    op.execute("drop function segment_reset()")
    create("segment_reset_v01")
    op.execute("reset role")
