"""The role that removes what has had its time, and what it may."""

from alembic import op

from migrations.objects import create, drop, refuse_if_others_depend

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

OBJECTS: tuple[str, ...] = ()


def upgrade() -> None:
    """Make the role, then everything else as segment_owner."""
    create("keeper_role_v01")
    op.execute("set local role segment_owner")
    for name in OBJECTS:
        create(f"{name}_v01")
    op.execute("reset role")


def downgrade() -> None:
    """Drop what was made; the role stays, without rights in this database."""
    refuse_if_others_depend("segment_%")
    drop("retention_v01")
