"""Rejects may leave the quarantine."""

from alembic import op

from migrations.objects import create, drop

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let the loader take away what it has loaded after all."""
    op.execute("set local role segment_owner")
    create("rejects_retry_v01")
    op.execute("reset role")


def downgrade() -> None:
    """Take that right; what has left stays loaded."""
    drop("rejects_retry_v01")
