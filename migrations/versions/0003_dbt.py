"""The role that dbt acts as."""

from migrations.objects import create, drop, refuse_if_others_depend

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the role, and let it read the tables and build beside them."""
    create("segment_dbt_v01")


def downgrade() -> None:
    """Drop what dbt built, and take the role's rights."""
    refuse_if_others_depend(owner="segment_dbt")
    drop("segment_dbt_v01")
