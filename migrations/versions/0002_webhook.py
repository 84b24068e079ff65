"""Cursors and dead letters of the listener."""

from alembic import op

from migrations.objects import create, drop, refuse_if_others_depend

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

OBJECTS = ("webhook_cursors", "webhook_dead_letters", "segment_adopt_server")


def upgrade() -> None:
    """Make everything as segment_owner."""
    op.execute("set local role segment_owner")
    for name in OBJECTS:
        create(f"{name}_v01")
    op.execute("reset role")


def downgrade() -> None:
    """Drop it all; a listener's slot, which belongs to the server, stays until somebody drops it."""
    refuse_if_others_depend("webhook_%")
    drop("webhook_v01")
