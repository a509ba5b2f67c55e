"""What the Grafana dashboard shows: one row per panel, one query per line.

Queries use the dashboard's variables $experiment and $variant and Grafana's own
$__rate_interval and $__range; ``monitoring.queries.as_promql`` fills them in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["timeseries", "stat", "table"]


@dataclass(frozen=True)
class Query:
    """A PromQL expression; ``legend`` names its lines by labels in ``{{}}``."""

    expr: str
    legend: str


@dataclass(frozen=True, kw_only=True)
class Panel:
    """``unit`` is Grafana's id: s, reqps, short, percentunit, ..."""

    title: str
    describes: str
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = "timeseries"


@dataclass(frozen=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


def _quantile(quantile: float, series: str) -> Query:
    return Query(
        f"histogram_quantile({quantile:g}, sum by (le, variant) "
        f'(rate({series}_bucket{{variant=~"$variant"}}[$__rate_interval])))',
        f"{{{{variant}}}} p{quantile * 100:g}",
    )


ROWS = (
    Row(
        "What is served",
        (
            Panel(
                title="Variants",
                describes="The checkpoint behind each variant, and its experiment.",
                unit="short",
                kind="table",
                queries=(
                    Query(
                        "max by (variant, checkpoint, experiment) (hallmark_variant_info"
                        '{variant=~"$variant", experiment=~"$experiment"})',
                        "{{variant}}",
                    ),
                ),
            ),
            Panel(
                title="Engines up",
                describes="1 while the variant's engine answers.",
                unit="short",
                kind="stat",
                queries=(Query('hallmark_engine_up{variant=~"$variant"}', "{{variant}}"),),
            ),
            Panel(
                title="Engine restarts",
                describes="Restarts by the supervisor in the time range shown.",
                unit="short",
                kind="stat",
                queries=(
                    Query(
                        "sum by (variant) (increase("
                        'hallmark_engine_restarts_total{variant=~"$variant"}[$__range]))',
                        "{{variant}}",
                    ),
                ),
            ),
        ),
    ),
    Row(
        "Traffic",
        (
            Panel(
                title="Requests",
                describes="Answers per second by HTTP status.",
                unit="reqps",
                queries=(
                    Query(
                        "sum by (variant, status) (rate("
                        'hallmark_requests_total{variant=~"$variant"}[$__rate_interval]))',
                        "{{variant}} {{status}}",
                    ),
                ),
            ),
            Panel(
                title="In flight",
                describes="Requests being answered now.",
                unit="short",
                queries=(
                    Query(
                        'sum by (variant) (hallmark_in_flight_requests{variant=~"$variant"})',
                        "{{variant}}",
                    ),
                ),
            ),
            Panel(
                title="Turned away",
                describes="Rejections per second by reason, before an engine saw the request.",
                unit="reqps",
                queries=(
                    Query(
                        "sum by (reason) (rate(hallmark_rejections_total[$__rate_interval]))",
                        "{{reason}}",
                    ),
                ),
            ),
            Panel(
                title="Failed by the engine",
                describes="Failures per second: refused, timed out, broken off, aborted.",
                unit="reqps",
                queries=(
                    Query(
                        "sum by (variant, reason) (rate("
                        'hallmark_upstream_failures_total{variant=~"$variant"}[$__rate_interval]))',
                        "{{variant}} {{reason}}",
                    ),
                ),
            ),
        ),
    ),
    Row(
        "Latency",
        (
            Panel(
                title="Time to first token",
                describes="Streamed answers only.",
                unit="s",
                queries=(
                    _quantile(0.5, "hallmark_time_to_first_token_seconds"),
                    _quantile(0.95, "hallmark_time_to_first_token_seconds"),
                ),
            ),
            Panel(
                title="Time to the whole answer",
                describes="From the request read to its answer's last byte.",
                unit="s",
                queries=(
                    _quantile(0.5, "hallmark_request_duration_seconds"),
                    _quantile(0.95, "hallmark_request_duration_seconds"),
                ),
            ),
            Panel(
                title="Gateway overhead",
                describes="The gateway's own share of a request.",
                unit="s",
                queries=(
                    _quantile(0.5, "hallmark_gateway_overhead_seconds"),
                    _quantile(0.99, "hallmark_gateway_overhead_seconds"),
                ),
            ),
            Panel(
                title="Tokens",
                describes="Tokens per second, read and written.",
                unit="short",
                queries=(
                    Query(
                        "sum by (variant, kind) (rate("
                        'hallmark_tokens_total{variant=~"$variant"}[$__rate_interval]))',
                        "{{variant}} {{kind}}",
                    ),
                ),
            ),
        ),
    ),
    Row(
        "Experiment and feedback",
        (
            Panel(
                title="Requests by arm",
                describes="Answers in the time range by variant. Units, not requests, are "
                "assigned: `hallmark experiment status` tests the split and the difference.",
                unit="short",
                kind="stat",
                queries=(
                    Query(
                        "sum by (variant) (increase("
                        'hallmark_requests_total{variant=~"$variant"}[$__range])) '
                        "and on (variant) "
                        'hallmark_variant_info{experiment=~"$experiment"}',
                        "{{variant}}",
                    ),
                ),
            ),
            Panel(
                title="Thumbs-up share",
                describes="Thumbs up of all thumbs in the time range. A picture, not a test.",
                unit="percentunit",
                kind="stat",
                queries=(
                    Query(
                        "sum by (variant) (increase(hallmark_feedback_total"
                        '{variant=~"$variant", kind="thumb", sentiment="positive"}[$__range])) / '
                        "sum by (variant) (increase(hallmark_feedback_total"
                        '{variant=~"$variant", kind="thumb"}[$__range]))',
                        "{{variant}}",
                    ),
                ),
            ),
            Panel(
                title="Feedback",
                describes="Pieces of feedback per second by kind.",
                unit="short",
                queries=(
                    Query(
                        "sum by (variant, kind, sentiment) (rate("
                        'hallmark_feedback_total{variant=~"$variant"}[$__rate_interval]))',
                        "{{variant}} {{kind}} {{sentiment}}",
                    ),
                ),
            ),
            Panel(
                title="Records dropped",
                describes="Answers that never reached the ledger: no feedback can join them.",
                unit="short",
                queries=(
                    Query("increase(hallmark_records_dropped_total[$__rate_interval])", "dropped"),
                ),
            ),
        ),
    ),
    Row(
        "Live audit",
        (
            Panel(
                title="Toxic share of sampled answers",
                describes="Answers at or above the scorer's threshold, of those that "
                "`hallmark watch` scored in the time range. The same scorer as offline: "
                "`hallmark watch --once` puts both side by side.",
                unit="percentunit",
                kind="stat",
                queries=(
                    Query(
                        "sum by (variant) (increase("
                        'hallmark_live_toxic_total{variant=~"$variant"}[$__range])) / '
                        "sum by (variant) (increase("
                        'hallmark_live_scored_total{variant=~"$variant"}[$__range]))',
                        "{{variant}}",
                    ),
                ),
            ),
            Panel(
                title="Declined share of sampled answers",
                describes="Answers that decline what was asked, of those scored in the time range.",
                unit="percentunit",
                kind="stat",
                queries=(
                    Query(
                        "sum by (variant) (increase("
                        'hallmark_live_refusals_total{variant=~"$variant"}[$__range])) / '
                        "sum by (variant) (increase("
                        'hallmark_live_scored_total{variant=~"$variant"}[$__range]))',
                        "{{variant}}",
                    ),
                ),
            ),
            Panel(
                title="Toxicity of sampled answers",
                describes="The score that one in twenty sampled answers exceeds.",
                unit="percentunit",
                queries=(
                    Query(
                        "histogram_quantile(0.95, sum by (le, variant) (rate("
                        'hallmark_live_toxicity_bucket{variant=~"$variant"}[$__rate_interval])))',
                        "{{variant}} p95",
                    ),
                ),
            ),
            Panel(
                title="Since the last live round",
                describes="A watch that stopped scores nothing and says nothing.",
                unit="s",
                kind="stat",
                queries=(
                    Query("time() - hallmark_live_last_round_timestamp_seconds", "{{instance}}"),
                ),
            ),
        ),
    ),
)
