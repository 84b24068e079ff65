"""A database that was restored on another server goes on there, with nothing lost and nothing twice."""

from alembic import op

from migrations.objects import create

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the function that forgot the cursors."""
    op.execute("set local role segment_owner")
    op.execute("drop function segment_adopt_server()")
    create("segment_adopt_v01")
    op.execute("reset role")


def downgrade() -> None:
    """Put that function back."""
    op.execute("set local role segment_owner")
    op.execute("drop function segment_adopt()")
    create("segment_adopt_server_v01")
    op.execute("reset role")
