"""What a checkpoint's weights say of a few fixed texts, to prove engines by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    text = sa.Text()
    op.create_table(
        "golden",
        sa.Column("weights_digest", text, primary_key=True),
        sa.Column("backend", text, primary_key=True),
        sa.Column("dtype", text, primary_key=True),
        sa.Column("tolerance", sa.Double(), nullable=False),
        sa.Column("texts", sa.JSON(), nullable=False),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
    )
