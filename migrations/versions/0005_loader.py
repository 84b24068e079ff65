"""Rejects may leave the quarantine, and the reducer has less to sort."""

from alembic import op

from migrations.objects import create, drop

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let the loader take away what it has loaded after all; replace the reducer."""
    op.execute("set local role segment_owner")
    create("rejects_retry_v01")
    reducer("segment_reduce_v02")
    op.execute("reset role")


def downgrade() -> None:
    """Take that right, what has left stays loaded; put the earlier reducer back."""
    op.execute("set local role segment_owner")
    drop("rejects_retry_v01")
    reducer("segment_reduce_v01")
    op.execute("reset role")


def reducer(file: str) -> None:
    """Replace the reducer by that of a file."""
    op.execute("drop function segment_reduce()")
    create(file)
