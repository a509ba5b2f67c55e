"""A variant's series as the hot path counts in them, each looked up once.

Looking a labelled child up costs more than counting in it, and one request counts in ten.
"""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from monitoring.series import Series
from serve.exchange import CLIENT_GONE, Exchange, clock


class Meter:
    """Counts the requests of one variant."""

    def __init__(self, series: Series, variant: str) -> None:
        self._series = series
        self._variant = variant
        self._in_flight = series.in_flight.labels(variant=variant)
        self._ttft = series.ttft.labels(variant=variant)
        self._overhead = series.overhead.labels(variant=variant)
        self._tokens = tuple(
            series.tokens.labels(variant=variant, kind=kind) for kind in ("prompt", "completion")
        )
        self._answers: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def taken(self) -> None:
        """A request has got its slot."""
        self._in_flight.inc()

    def failed(self, reason: str) -> None:
        """The engine failed a request; ``reason`` is of series.FAILURE_REASONS."""
        self._series.failures.labels(variant=self._variant, reason=reason).inc()

    def answered(self, exchange: Exchange) -> float:
        """The request and its duration, which is returned in seconds."""
        duration = clock() - exchange.began
        key = exchange.route, exchange.status or CLIENT_GONE
        answers = self._answers.get(key)
        if answers is None:
            route, status = key
            named = {"variant": self._variant, "route": route}
            answers = self._answers[key] = (
                self._series.requests.labels(status=str(status), **named),
                self._series.duration.labels(**named),
            )
        requests, durations = answers
        requests.inc()
        durations.observe(duration)
        return duration

    def left(self, exchange: Exchange) -> float:
        """A request has given its slot back; returns its duration in seconds."""
        self._in_flight.dec()
        if exchange.ttft_ms is not None:
            self._ttft.observe(exchange.ttft_ms / 1000)
        if exchange.overhead_ms is not None:
            self._overhead.observe(exchange.overhead_ms / 1000)
        for counter, count in zip(self._tokens, exchange.tokens, strict=True):
            if count:
                counter.inc(count)
        return self.answered(exchange)
