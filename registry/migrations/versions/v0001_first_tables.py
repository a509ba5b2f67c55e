"""The first tables: checkpoints, datasets, evidence, verdicts, aliases, traffic, feedback."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    text, instant, json = sa.Text(), sa.DateTime(timezone=True), sa.JSON()
    op.create_table(
        "checkpoints",
        sa.Column("digest", text, primary_key=True),
        sa.Column("name", text, nullable=False, index=True),
        sa.Column("uri", text, nullable=False),
        sa.Column("stage", text, nullable=False),
        sa.Column("parent_digest", text),
        sa.Column("manifest", json, nullable=False),
        sa.Column("created_at", instant, nullable=False),
    )
    op.create_table(
        "checkpoint_datasets",
        sa.Column("checkpoint_digest", text, sa.ForeignKey("checkpoints.digest"), primary_key=True),
        sa.Column("dataset_digest", text, primary_key=True, index=True),
        sa.Column("split", text, primary_key=True),
        sa.Column("dataset_name", text, nullable=False),
    )
    op.create_table(
        "datasets",
        sa.Column("name", text, primary_key=True),
        sa.Column("digest", text, primary_key=True, index=True),
        sa.Column("uri", text, nullable=False),
        sa.Column("licence", text, nullable=False),
        sa.Column("source", text, nullable=False),
        sa.Column("num_rows", sa.BigInteger(), nullable=False),
        sa.Column("manifest", json, nullable=False),
        sa.Column("created_at", instant, nullable=False),
    )
    op.create_table(
        "evidence",
        sa.Column("weights_digest", text, primary_key=True),
        sa.Column("check_name", text, primary_key=True),
        sa.Column("config_digest", text, primary_key=True),
        sa.Column("digest", text, nullable=False, index=True),
        sa.Column("path", text, nullable=False),
        sa.Column("created_at", instant, nullable=False),
    )
    op.create_table(
        "verdicts",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("digest", text, nullable=False, unique=True),
        sa.Column("candidate_digest", text, nullable=False, index=True),
        sa.Column("status", text, nullable=False),
        sa.Column("policy_digest", text, nullable=False),
        sa.Column("envelope_digest", text, index=True),
        sa.Column("body", json, nullable=False),
        sa.Column("created_at", instant, nullable=False),
    )
    op.create_table(
        "alias_changes",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", text, nullable=False, index=True),
        sa.Column("digest", text, sa.ForeignKey("checkpoints.digest"), nullable=False),
        sa.Column("kind", text, nullable=False),
        sa.Column("changed_by", text, nullable=False),
        sa.Column("reason", text, nullable=False),
        sa.Column("changed_at", instant, nullable=False),
    )
    op.create_table(
        "revocations",
        sa.Column("envelope_digest", text, primary_key=True),
        sa.Column("reason", text, nullable=False),
        sa.Column("revoked_at", instant, nullable=False),
    )
    op.create_table(
        "experiments",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", text, nullable=False, index=True),
        sa.Column("body", json, nullable=False),
        sa.Column("created_at", instant, nullable=False),
    )
    op.create_table(
        "requests",
        sa.Column("request_id", text, primary_key=True),
        sa.Column("experiment", text),
        sa.Column("variant", text, nullable=False),
        sa.Column("checkpoint", text, nullable=False, index=True),
        sa.Column("unit_digest", text),
        sa.Column("pinned", sa.Boolean(), nullable=False),
        sa.Column("route", text, nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("started_at", instant, nullable=False),
        sa.Column("ttft_ms", sa.Double()),
        sa.Column("duration_ms", sa.Double(), nullable=False),
        sa.Column("overhead_ms", sa.Double()),
        sa.Column("prompt_tokens", sa.Integer()),
        sa.Column("completion_tokens", sa.Integer()),
        sa.Column("finish_reason", text),
        sa.Column("messages", json),
        sa.Column("answer", text),
        sa.Index("ix_requests_experiment_started_at", "experiment", "started_at"),
    )
    op.create_table(
        "feedback",
        sa.Column("feedback_id", text, primary_key=True),
        sa.Column("request_id", text, nullable=False, index=True),
        sa.Column("kind", text, nullable=False),
        sa.Column("value", sa.Double()),
        sa.Column("text", text),
        sa.Column("created_at", instant, nullable=False, index=True),
    )
