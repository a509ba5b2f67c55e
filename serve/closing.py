"""What is left to do for a request that is over: its slots, counts, record, copies and span."""

from __future__ import annotations

from collections.abc import Mapping

from serve.exchange import Exchange
from serve.meter import Meter
from serve.quotas import Quotas, tokens_to_charge
from serve.recorder import Recorder
from serve.replicas import Outcome
from serve.settings import ServingPlan
from serve.shadow import Copy, Shadows
from serve.tracing import Spans


class Closing:
    """Everything that waits for the end of an exchange; nothing of it is awaited."""

    def __init__(
        self,
        plan: ServingPlan,
        recorder: Recorder,
        meters: Mapping[str, Meter],
        quotas: Quotas,
        spans: Spans | None,
        shadows: Shadows | None,
    ) -> None:
        self._plan = plan
        self._recorder = recorder
        self._meters = meters
        self._quotas = quotas
        self._spans = spans
        self._shadows = shadows

    def experiment(self, exchange: Exchange) -> str | None:
        """The experiment that a request is part of; pinned ones are in none."""
        assignment = exchange.assignment
        return None if assignment is None or assignment.pinned else self._plan.experiment

    def close(self, exchange: Exchange) -> None:
        """Exactly once for each exchange, however it ended."""
        if exchange.reservation is not None:
            charge = tokens_to_charge(exchange.status, exchange.tokens)
            self._quotas.settle(exchange.reservation, charge)
        if exchange.lease is not None:
            self._leave(exchange)
        elif exchange.assignment is not None and exchange.status is not None:
            self._meters[exchange.assignment.variant].answered(exchange)
        if self._spans is not None:
            self._spans.end(exchange, self._plan.model_name)

    def _leave(self, exchange: Exchange) -> None:
        """Give the slot back, count, and hand the record over."""
        lease = exchange.lease
        assert lease is not None
        outcome: Outcome = "answered"
        if exchange.failure is not None:
            outcome = "failed"
        elif exchange.gone or exchange.status in (None, 500):
            outcome = "unknown"
        lease.close(outcome, gone=exchange.failure == "connect")
        duration = self._meters[lease.upstream.name].left(exchange)
        experiment = self.experiment(exchange)
        self._recorder.put(exchange.record(experiment, duration_seconds=duration))
        answered = exchange.status == 200 and exchange.failure is None
        if experiment is not None and answered and lease.crossed_from is None:
            self._copy(exchange, experiment)

    def _copy(self, exchange: Exchange, experiment: str) -> None:
        """Show an answered request to the shadows of its unit."""
        assignment = exchange.assignment
        if self._shadows is None or assignment is None or assignment.unit_digest is None:
            return
        for name in assignment.shadows:
            copied = Copy(
                exchange.request_id,
                exchange.path,
                exchange.body,
                experiment,
                assignment.unit_digest,
                assignment.segments,
                exchange.user,
                exchange.purposes,
                keep_texts=exchange.parts is not None,
            )
            self._shadows.copy(name, copied)
