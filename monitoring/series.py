"""Every Prometheus series, of gateway and live audit, declared once over an injected registry.

    series = Series(CollectorRegistry())
    series.declare_variant("a", checkpoint="sha256:...", experiment="spring")
    series.ttft.labels(variant="a").observe(0.012)

A gauge says how the values of several workers become one (multiprocess_mode).

Base units are seconds and tokens. No name holds a colon: under OpenMetrics
negotiation a colon is stored as an underscore and the dashboards go empty.
A label's value is always one of few: never a user, a request id or a model name
that a client chose.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REJECTION_REASONS = (
    "overloaded",
    "not_ready",
    "invalid_request",
    "unknown_model",
    "too_large",
    "context_length",
    "unauthorized",
    "rate_limited",
)
FAILURE_REASONS = ("connect", "timeout", "status", "stream", "abort")
FEEDBACK_LABELS = (
    ("thumb", "positive"),
    ("thumb", "negative"),
    ("rating", "positive"),
    ("rating", "neutral"),
    ("rating", "negative"),
    ("edit", "negative"),
    ("comment", "neutral"),
    ("score", "neutral"),
    ("category", "neutral"),
    ("vote", "neutral"),
    ("ranking", "neutral"),
)
TOKEN_KINDS = ("prompt", "completion")
SHADOW_OUTCOMES = ("answered", "failed", "dropped")

# Seconds. The first token of a small model on a GPU comes below a millisecond after
# the gateway's own work, that of a large one on a CPU after tens of seconds.
TTFT_BUCKETS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
DURATION_BUCKETS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0, 120.0, 300.0,
)  # fmt: skip
OVERHEAD_BUCKETS = (
    0.0001, 0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.025, 0.1, 1.0,
)  # fmt: skip

# Scores in [0, 1]; most answers of a fair model lie in the first.
SCORE_BUCKETS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Series:
    """The gateway's series; each attribute is one metric of the registry handed in.

    requests          hallmark_requests_total{variant,route,status}: answers sent, by the
                      HTTP status code that the client saw ("200", "503", ...)
    duration          hallmark_request_duration_seconds{variant,route}: from the request's
                      last byte read to the answer's last byte written
    ttft              hallmark_time_to_first_token_seconds{variant}: until the first piece of
                      content, streamed answers only
    overhead          hallmark_gateway_overhead_seconds{variant}: the gateway's own share,
                      time spent waiting for the engine taken out
    tokens            hallmark_tokens_total{variant,kind}: kind is of TOKEN_KINDS
    in_flight         hallmark_in_flight_requests{variant}: being answered now
    rejections        hallmark_rejections_total{reason}: turned away before an engine saw
                      them; reason is of REJECTION_REASONS
    failures          hallmark_upstream_failures_total{variant,reason}: the engine failed us;
                      reason is of FAILURE_REASONS
    records_dropped   hallmark_records_dropped_total: request records that never reached
                      the ledger
    engine_up         hallmark_engine_up{variant}: 1 while the engine answers, else 0
    engine_restarts   hallmark_engine_restarts_total{variant}
    replicas_up       hallmark_replicas_up{variant}: engines of the variant that answer
    open_breakers     hallmark_open_breakers{variant}: engines left alone after failures
    queued            hallmark_queued_requests{variant}: waiting for a slot now
    feedback          hallmark_feedback_total{variant,kind,sentiment}: pairs of FEEDBACK_LABELS;
                      a rating of 4 or 5 is positive, of 1 or 2 negative
    guardrail_breached  hallmark_guardrail_breached{experiment,variant}: 1 once a guardrail took
                      the variant off its units, until the experiment is started again
    variant_paused    hallmark_variant_paused{experiment,variant}: 1 while it gets no units
                      because a guardrail has no samples
    variant_share     hallmark_variant_share{experiment,variant}: share of the units it gets now
    guardian_last_look  hallmark_guardian_last_look_timestamp_seconds{experiment}: when its
                      guardrails were last judged, in Unix time
    shadow_requests   hallmark_shadow_requests_total{variant,outcome}: copies of requests;
                      outcome is of SHADOW_OUTCOMES
    variant_info      hallmark_variant_info{variant,checkpoint,experiment}: always 1; checkpoint
                      is the weights digest, experiment is "" outside one
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.requests = Counter(
            "hallmark_requests_total",
            "Answers sent, by HTTP status code.",
            ["variant", "route", "status"],
            registry=registry,
        )
        self.duration = Histogram(
            "hallmark_request_duration_seconds",
            "Seconds from reading a request to the last byte of its answer.",
            ["variant", "route"],
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self.ttft = Histogram(
            "hallmark_time_to_first_token_seconds",
            "Seconds until the first piece of content of a streamed answer.",
            ["variant"],
            buckets=TTFT_BUCKETS,
            registry=registry,
        )
        self.overhead = Histogram(
            "hallmark_gateway_overhead_seconds",
            "Seconds that the gateway itself adds to a request.",
            ["variant"],
            buckets=OVERHEAD_BUCKETS,
            registry=registry,
        )
        self.tokens = Counter(
            "hallmark_tokens_total",
            "Tokens read (prompt) and written (completion).",
            ["variant", "kind"],
            registry=registry,
        )
        self.in_flight = Gauge(
            "hallmark_in_flight_requests",
            "Requests being answered now.",
            ["variant"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.rejections = Counter(
            "hallmark_rejections_total",
            "Requests turned away before an engine saw them.",
            ["reason"],
            registry=registry,
        )
        self.failures = Counter(
            "hallmark_upstream_failures_total",
            "Requests that the engine failed.",
            ["variant", "reason"],
            registry=registry,
        )
        self.records_dropped = Counter(
            "hallmark_records_dropped_total",
            "Request records that never reached the ledger.",
            registry=registry,
        )
        self.engine_up = Gauge(
            "hallmark_engine_up",
            "1 while the variant's engine answers, else 0.",
            ["variant"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.engine_restarts = Counter(
            "hallmark_engine_restarts_total",
            "Times the supervisor started a variant's engine again.",
            ["variant"],
            registry=registry,
        )
        self.replicas_up = Gauge(
            "hallmark_replicas_up",
            "Engines of the variant that answer.",
            ["variant"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.open_breakers = Gauge(
            "hallmark_open_breakers",
            "Engines of the variant that are left alone after failures.",
            ["variant"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.queued = Gauge(
            "hallmark_queued_requests",
            "Requests that wait for a slot now.",
            ["variant"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.feedback = Counter(
            "hallmark_feedback_total",
            "Pieces of feedback taken.",
            ["variant", "kind", "sentiment"],
            registry=registry,
        )
        self.guardrail_breached = Gauge(
            "hallmark_guardrail_breached",
            "1 where a guardrail took the variant off its units.",
            ["experiment", "variant"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.variant_paused = Gauge(
            "hallmark_variant_paused",
            "1 where the variant is paused, because a guardrail has no samples.",
            ["experiment", "variant"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.variant_share = Gauge(
            "hallmark_variant_share",
            "Share of the units that the variant gets now.",
            ["experiment", "variant"],
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self.guardian_last_look = Gauge(
            "hallmark_guardian_last_look_timestamp_seconds",
            "When the experiment's guardrails were last judged, in Unix time.",
            ["experiment"],
            registry=registry,
            multiprocess_mode="max",
        )
        self.shadow_requests = Counter(
            "hallmark_shadow_requests_total",
            "Copies of requests for a shadow variant.",
            ["variant", "outcome"],
            registry=registry,
        )
        self.variant_info = Gauge(
            "hallmark_variant_info",
            "Which checkpoint a variant serves, in which experiment.",
            ["variant", "checkpoint", "experiment"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        for reason in REJECTION_REASONS:
            self.rejections.labels(reason=reason)

    def declare_variant(self, variant: str, *, checkpoint: str, experiment: str | None) -> None:
        """Create the variant's series at zero, its engine down.

        Call once per variant at start: ``rate()`` and an alert see the first event of a
        counter only if the counter was there, at zero, before it.
        """
        self.variant_info.labels(
            variant=variant, checkpoint=checkpoint, experiment=experiment or ""
        ).set(1)
        arm = {"experiment": experiment or "", "variant": variant}
        self.guardrail_breached.labels(**arm).set(0)
        self.variant_paused.labels(**arm).set(0)
        self.engine_up.labels(variant=variant).set(0)
        self.engine_restarts.labels(variant=variant)
        for gauge in (self.replicas_up, self.open_breakers, self.queued):
            gauge.labels(variant=variant)
        self.in_flight.labels(variant=variant)
        self.ttft.labels(variant=variant)
        self.overhead.labels(variant=variant)
        for kind in TOKEN_KINDS:
            self.tokens.labels(variant=variant, kind=kind)
        for reason in FAILURE_REASONS:
            self.failures.labels(variant=variant, reason=reason)
        for kind, sentiment in FEEDBACK_LABELS:
            self.feedback.labels(variant=variant, kind=kind, sentiment=sentiment)


class LiveSeries:
    """The series of `hallmark watch`, a process of its own with a registry of its own.

    scored            hallmark_live_scored_total{variant,checkpoint}: sampled answers scored
    toxic             hallmark_live_toxic_total{variant,checkpoint}: of them at or above the
                      threshold
    refusals          hallmark_live_refusals_total{variant,checkpoint}: of them declined
    toxicity          hallmark_live_toxicity{variant,checkpoint}: a histogram of their scores
    failures          hallmark_live_failures_total: rounds that the ledger did not serve
    last_round        hallmark_live_last_round_timestamp_seconds: when a round last ended
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        arm = ["variant", "checkpoint"]
        self.scored = Counter(
            "hallmark_live_scored_total", "Sampled answers scored.", arm, registry=registry
        )
        self.toxic = Counter(
            "hallmark_live_toxic_total",
            "Sampled answers at or above the toxicity threshold.",
            arm,
            registry=registry,
        )
        self.refusals = Counter(
            "hallmark_live_refusals_total",
            "Sampled answers that decline what was asked.",
            arm,
            registry=registry,
        )
        self.toxicity = Histogram(
            "hallmark_live_toxicity",
            "Toxicity of sampled answers, in [0, 1].",
            arm,
            buckets=SCORE_BUCKETS,
            registry=registry,
        )
        self.failures = Counter(
            "hallmark_live_failures_total",
            "Rounds that the ledger did not serve.",
            registry=registry,
        )
        self.last_round = Gauge(
            "hallmark_live_last_round_timestamp_seconds",
            "When a round last ended, in Unix time.",
            registry=registry,
        )

    def declare(self, variant: str, checkpoint: str) -> None:
        """Create the series of an arm at zero, before its first answer is counted."""
        for metric in (self.scored, self.toxic, self.refusals, self.toxicity):
            metric.labels(variant=variant, checkpoint=checkpoint)
