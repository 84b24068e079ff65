"""What the lake has, and the role that exports to it."""

from alembic import op

from migrations.objects import create, drop, refuse_if_others_depend

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

OBJECTS = ("lake_batches_in_order", "lake_destinations", "lake_fragments")


def upgrade() -> None:
    """Make the role, then everything else as segment_owner."""
    create("lake_role_v01")
    op.execute("set local role segment_owner")
    for name in OBJECTS:
        create(f"{name}_v01")
    op.execute("reset role")


def downgrade() -> None:
    """Drop it all; files stay, and the role, without rights in this database."""
    refuse_if_others_depend("lake_%")
    drop("lake_v01")
