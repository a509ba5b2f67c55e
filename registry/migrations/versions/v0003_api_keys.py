"""Who may ask, with what limits: API keys by their digests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    text, instant = sa.Text(), sa.DateTime(timezone=True)
    op.create_table(
        "api_keys",
        sa.Column("key_id", text, primary_key=True),
        sa.Column("name", text, nullable=False),
        sa.Column("prefix", text, nullable=False),
        sa.Column("digest", text, nullable=False, unique=True),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("requests_per_minute", sa.Integer()),
        sa.Column("tokens_per_minute", sa.Integer()),
        sa.Column("max_concurrent", sa.Integer()),
        sa.Column("created_at", instant, nullable=False),
        sa.Column("revoked_at", instant),
    )
