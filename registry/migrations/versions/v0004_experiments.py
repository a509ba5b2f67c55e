"""What happens to experiments while they run, and what analysis must know of a request."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    text, instant, json = sa.Text(), sa.DateTime(timezone=True), sa.JSON()
    op.create_table(
        "experiment_events",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("key", text, nullable=False, unique=True),
        sa.Column("experiment", text, nullable=False, index=True),
        sa.Column("kind", text, nullable=False),
        sa.Column("variant", text),
        sa.Column("reason", text, nullable=False),
        sa.Column("body", json, nullable=False),
        sa.Column("at", instant, nullable=False),
    )
    op.add_column("requests", sa.Column("excluded", text))
    op.add_column("requests", sa.Column("propensity", sa.Double()))
    op.add_column("requests", sa.Column("segments", json))
    op.add_column("requests", sa.Column("shadow_of", text))
