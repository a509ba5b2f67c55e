"""Feedback of all kinds, consent, labels, the rows that datasets took, and erasures."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    text, instant, json = sa.Text(), sa.DateTime(timezone=True), sa.JSON()
    op.add_column("requests", sa.Column("user_digest", text))
    op.add_column("requests", sa.Column("purposes", json))
    op.create_index("ix_requests_user_digest", "requests", ["user_digest"])
    op.create_index("ix_requests_unit_digest", "requests", ["unit_digest"])
    op.add_column("feedback", sa.Column("metric", text))
    op.add_column("feedback", sa.Column("label", text))
    op.add_column("feedback", sa.Column("ranking", json))
    op.add_column("feedback", sa.Column("user_digest", text))
    op.add_column("feedback", sa.Column("source", text))
    op.create_index("ix_feedback_user_digest", "feedback", ["user_digest"])
    op.create_index("ix_feedback_kind", "feedback", ["kind"])
    op.create_table(
        "label_tasks",
        sa.Column("request_id", text, primary_key=True),
        sa.Column("priority", sa.Double(), nullable=False, index=True),
        sa.Column("reason", text, nullable=False),
        sa.Column("added_at", instant, nullable=False),
    )
    op.create_table(
        "labels",
        sa.Column("request_id", text, primary_key=True),
        sa.Column("labeller_digest", text, primary_key=True, index=True),
        sa.Column("label", text, nullable=False),
        sa.Column("better", text),
        sa.Column("created_at", instant, nullable=False),
    )
    op.create_table(
        "dataset_rows",
        sa.Column("dataset_digest", text, primary_key=True),
        sa.Column("row_digest", text, primary_key=True),
        sa.Column("request_id", text, primary_key=True, index=True),
    )
    op.create_table(
        "erasures",
        sa.Column("erasure_id", text, primary_key=True),
        sa.Column("user_digest", text, nullable=False, index=True),
        sa.Column("receipt", json, nullable=False),
        sa.Column("erased_at", instant, nullable=False),
    )
