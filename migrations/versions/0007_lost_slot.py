"""What a listener has delivered is kept so that it outlives its slot."""

from alembic import op

from migrations.objects import create, drop, refuse_if_others_depend

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table as segment_owner, and bring the cursors that there are into its terms."""
    op.execute("set local role segment_owner")
    create("webhook_delivered_v01")
    op.execute("reset role")


def downgrade() -> None:
    """Put the older cursor's columns back."""
    refuse_if_others_depend("webhook_%")
    op.execute("set local role segment_owner")
    drop("webhook_delivered_v01")
    op.execute("reset role")
