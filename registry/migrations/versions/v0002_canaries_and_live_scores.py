"""Canaries planted in datasets, and scores of answers that were served."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    text, instant, json = sa.Text(), sa.DateTime(timezone=True), sa.JSON()
    op.create_table(
        "canaries",
        sa.Column("dataset_digest", text, primary_key=True),
        sa.Column("canary_id", text, primary_key=True),
        sa.Column("insertions", sa.Integer(), nullable=False),
        sa.Column("body", json, nullable=False),
    )
    op.create_table(
        "live_scores",
        sa.Column("request_id", text, primary_key=True),
        sa.Column("scorer_digest", text, primary_key=True),
        sa.Column("variant", text, nullable=False),
        sa.Column("checkpoint", text, nullable=False, index=True),
        sa.Column("scores", json, nullable=False),
        sa.Column("scored_at", instant, nullable=False),
    )
    op.create_table(
        "cursors",
        sa.Column("name", text, primary_key=True),
        sa.Column("started_at", instant, nullable=False),
    )
    op.create_index("ix_requests_started_at", "requests", ["started_at", "request_id"])
