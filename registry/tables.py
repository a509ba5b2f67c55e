"""The ledger's tables. Their history is in ``registry/migrations``; a test holds both equal.

What serving writes (requests, feedback) refers to checkpoints and to one another without
foreign keys: a record of what was answered must never be lost because another row is late.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

metadata = sa.MetaData()


class Utc(sa.types.TypeDecorator[datetime]):
    """A point in time, stored in UTC and read back with its zone. Refuses naive datetimes."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        # SQLite keeps no zone; PostgreSQL answers in the session's.
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Text(sa.types.TypeDecorator[str]):
    """Text as people send it. NUL, which PostgreSQL cannot store, and lone surrogates, which
    no UTF-8 can, become U+FFFD, so that one odd message does not lose a batch of records.
    """

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or (value.isascii() and "\0" not in value):
            return value
        whole = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return whole.replace("\0", "\ufffd")


def json() -> sa.JSON:
    """JSON with None as NULL. Not JSONB, which reorders keys and refuses an escaped NUL."""
    return sa.JSON(none_as_null=True)


checkpoints = sa.Table(
    "checkpoints",
    metadata,
    sa.Column("digest", Text, primary_key=True),
    sa.Column("name", Text, nullable=False, index=True),
    sa.Column("uri", Text, nullable=False),
    sa.Column("stage", Text, nullable=False),
    sa.Column("parent_digest", Text),
    sa.Column("manifest", json(), nullable=False),
    sa.Column("created_at", Utc, nullable=False),
)

checkpoint_datasets = sa.Table(
    "checkpoint_datasets",
    metadata,
    sa.Column("checkpoint_digest", Text, sa.ForeignKey("checkpoints.digest"), primary_key=True),
    sa.Column("dataset_digest", Text, primary_key=True, index=True),
    sa.Column("split", Text, primary_key=True),
    sa.Column("dataset_name", Text, nullable=False),
)

datasets = sa.Table(
    "datasets",
    metadata,
    sa.Column("name", Text, primary_key=True),
    sa.Column("digest", Text, primary_key=True, index=True),
    sa.Column("uri", Text, nullable=False),
    sa.Column("licence", Text, nullable=False),
    sa.Column("source", Text, nullable=False),
    sa.Column("num_rows", sa.BigInteger, nullable=False),
    sa.Column("manifest", json(), nullable=False),
    sa.Column("created_at", Utc, nullable=False),
)

evidence = sa.Table(
    "evidence",
    metadata,
    sa.Column("weights_digest", Text, primary_key=True),
    sa.Column("check_name", Text, primary_key=True),
    sa.Column("config_digest", Text, primary_key=True),
    sa.Column("digest", Text, nullable=False, index=True),
    sa.Column("path", Text, nullable=False),
    sa.Column("created_at", Utc, nullable=False),
)

verdicts = sa.Table(
    "verdicts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("digest", Text, nullable=False, unique=True),
    sa.Column("candidate_digest", Text, nullable=False, index=True),
    sa.Column("status", Text, nullable=False),
    sa.Column("policy_digest", Text, nullable=False),
    sa.Column("envelope_digest", Text, index=True),
    sa.Column("body", json(), nullable=False),
    sa.Column("created_at", Utc, nullable=False),
)

# An alias points where its newest change says; the rows are never changed or removed.
alias_changes = sa.Table(
    "alias_changes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", Text, nullable=False, index=True),
    sa.Column("digest", Text, sa.ForeignKey("checkpoints.digest"), nullable=False),
    sa.Column("kind", Text, nullable=False),
    sa.Column("changed_by", Text, nullable=False),
    sa.Column("reason", Text, nullable=False),
    sa.Column("changed_at", Utc, nullable=False),
)

revocations = sa.Table(
    "revocations",
    metadata,
    sa.Column("envelope_digest", Text, primary_key=True),
    sa.Column("reason", Text, nullable=False),
    sa.Column("revoked_at", Utc, nullable=False),
)

# The newest row of a name holds; earlier ones show what the experiment was.
experiments = sa.Table(
    "experiments",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", Text, nullable=False, index=True),
    sa.Column("body", json(), nullable=False),
    sa.Column("created_at", Utc, nullable=False),
)

# What happened to an experiment (registry.experiments): never changed or removed.
experiment_events = sa.Table(
    "experiment_events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", Text, nullable=False, unique=True),
    sa.Column("experiment", Text, nullable=False, index=True),
    sa.Column("kind", Text, nullable=False),
    sa.Column("variant", Text),
    sa.Column("reason", Text, nullable=False),
    sa.Column("body", json(), nullable=False),
    sa.Column("at", Utc, nullable=False),
)

# Columns of the next two are the fields of RequestRecord and FeedbackRecord.
requests = sa.Table(
    "requests",
    metadata,
    sa.Column("request_id", Text, primary_key=True),
    sa.Column("experiment", Text),
    sa.Column("variant", Text, nullable=False),
    sa.Column("checkpoint", Text, nullable=False, index=True),
    sa.Column("unit_digest", Text),
    sa.Column("pinned", sa.Boolean, nullable=False),
    sa.Column("route", Text, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("started_at", Utc, nullable=False),
    sa.Column("ttft_ms", sa.Double),
    sa.Column("duration_ms", sa.Double, nullable=False),
    sa.Column("overhead_ms", sa.Double),
    sa.Column("prompt_tokens", sa.Integer),
    sa.Column("completion_tokens", sa.Integer),
    sa.Column("finish_reason", Text),
    sa.Column("messages", json()),
    sa.Column("answer", Text),
    sa.Column("user_digest", Text),
    sa.Column("purposes", json()),
    sa.Column("excluded", Text),
    sa.Column("propensity", sa.Double),
    sa.Column("segments", json()),
    sa.Column("shadow_of", Text),
    sa.Index("ix_requests_experiment_started_at", "experiment", "started_at"),
    sa.Index("ix_requests_started_at", "started_at", "request_id"),
)

feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column("feedback_id", Text, primary_key=True),
    sa.Column("request_id", Text, nullable=False, index=True),
    sa.Column("kind", Text, nullable=False, index=True),
    sa.Column("value", sa.Double),
    sa.Column("text", Text),
    sa.Column("created_at", Utc, nullable=False, index=True),
    sa.Column("metric", Text),
    sa.Column("label", Text),
    sa.Column("ranking", json()),
    sa.Column("user_digest", Text, index=True),
    sa.Column("source", Text),
)

# Planted to be looked for (registry.canaries): which secrets a dataset version holds.
canaries = sa.Table(
    "canaries",
    metadata,
    sa.Column("dataset_digest", Text, primary_key=True),
    sa.Column("canary_id", Text, primary_key=True),
    sa.Column("insertions", sa.Integer, nullable=False),
    sa.Column("body", json(), nullable=False),
)

# What a scorer said of an answer that was served (registry.live); no texts.
live_scores = sa.Table(
    "live_scores",
    metadata,
    sa.Column("request_id", Text, primary_key=True),
    sa.Column("scorer_digest", Text, primary_key=True),
    sa.Column("variant", Text, nullable=False),
    sa.Column("checkpoint", Text, nullable=False, index=True),
    sa.Column("scores", json(), nullable=False),
    sa.Column("scored_at", Utc, nullable=False),
)

# How far a reader of the requests has come: all that started before are looked at.
cursors = sa.Table(
    "cursors",
    metadata,
    sa.Column("name", Text, primary_key=True),
    sa.Column("started_at", Utc, nullable=False),
)

# Who may ask (registry.api_keys): digests, never the keys. Columns are the fields of ApiKey.
api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("key_id", Text, primary_key=True),
    sa.Column("name", Text, nullable=False),
    sa.Column("prefix", Text, nullable=False),
    sa.Column("digest", Text, nullable=False, unique=True),
    sa.Column("scopes", json(), nullable=False),
    sa.Column("requests_per_minute", sa.Integer),
    sa.Column("tokens_per_minute", sa.Integer),
    sa.Column("max_concurrent", sa.Integer),
    sa.Column("created_at", Utc, nullable=False),
    sa.Column("revoked_at", Utc),
)

# Answers that people should look at, the most telling first, and what they said
# (registry.labels). Columns are the fields of LabelTask and Label.
label_tasks = sa.Table(
    "label_tasks",
    metadata,
    sa.Column("request_id", Text, primary_key=True),
    sa.Column("priority", sa.Double, nullable=False, index=True),
    sa.Column("reason", Text, nullable=False),
    sa.Column("added_at", Utc, nullable=False),
)

labels = sa.Table(
    "labels",
    metadata,
    sa.Column("request_id", Text, primary_key=True),
    sa.Column("labeller_digest", Text, primary_key=True, index=True),
    sa.Column("label", Text, nullable=False),
    sa.Column("better", Text),
    sa.Column("created_at", Utc, nullable=False),
)

# Which answer each row of an exported dataset version came from (registry.erasure).
dataset_rows = sa.Table(
    "dataset_rows",
    metadata,
    sa.Column("dataset_digest", Text, primary_key=True),
    sa.Column("row_digest", Text, primary_key=True),
    sa.Column("request_id", Text, primary_key=True, index=True),
)

# Receipts hold counts and digests, no texts.
erasures = sa.Table(
    "erasures",
    metadata,
    sa.Column("erasure_id", Text, primary_key=True),
    sa.Column("user_digest", Text, nullable=False, index=True),
    sa.Column("receipt", json(), nullable=False),
    sa.Column("erased_at", Utc, nullable=False),
)

# What a checkpoint's weights say of a few fixed texts (registry.golden).
golden = sa.Table(
    "golden",
    metadata,
    sa.Column("weights_digest", Text, primary_key=True),
    sa.Column("backend", Text, primary_key=True),
    sa.Column("dtype", Text, primary_key=True),
    sa.Column("tolerance", sa.Double, nullable=False),
    sa.Column("texts", json(), nullable=False),
    sa.Column("measured_at", Utc, nullable=False),
)
