"""`hallmark watch`: the audits' scorers on a sampled share of live answers.

A process of its own, next to the server or far from it: it reads the ledger, writes
scores back and shows Prometheus series. What it says and logs holds no text of a user
or of an answer.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from sqlalchemy.exc import DBAPIError

from audit.live import LiveSettings, by_arm, live_digest, score_new
from audit.toxicity import Scorer, open_scorer
from commands.session import Session, print_json, table
from monitoring.series import LiveSeries
from registry.evidence import EvidenceStore
from registry.live import LiveScore
from registry.records import UserError, short

log = logging.getLogger("hallmark.watch")


def watch(
    session: Session,
    settings: LiveSettings,
    *,
    host: str,
    port: int,
    every_seconds: float,
    once: bool,
    json: bool,
) -> int:
    """One round, or one every so many seconds until the process is told to end."""
    scorer = open_scorer()
    if not once:
        return _run(session, settings, scorer, host=host, port=port, every_seconds=every_seconds)
    new = score_new(session.ledger, scorer, settings, _now)
    rows = side_by_side(session, scorer, settings)
    if json:
        print_json(
            {
                "new": new,
                "scorer": {"name": scorer.name, "digest": scorer.digest},
                "share": settings.share,
                "threshold": settings.threshold,
                "arms": rows,
            }
        )
        return 0
    session.say(f"{new} answers scored")
    columns = ("variant", "checkpoint", "answers", "toxic live", "95%", "offline", "refusals")
    shown = [
        (
            row["variant"],
            short(row["checkpoint"]),
            row["answers"],
            f"{row['toxic_share']:.4f}",
            "[{:.4f}, {:.4f}]".format(*row["toxic_interval"]),
            ", ".join(_offline_cell(each) for each in row["offline"]) or None,
            f"{row['refusal_share']:.4f}",
        )
        for row in rows
    ]
    session.console.print(table("live answers beside the audit's", columns, shown))
    return 0


def side_by_side(session: Session, scorer: Scorer, settings: LiveSettings) -> list[dict[str, Any]]:
    """Live figures by arm, each with what the toxicity audit found on the same weights."""
    rows = by_arm(session.ledger.live_scores(live_digest(scorer)), threshold=settings.threshold)
    return [row | {"offline": _offline(session, row["checkpoint"])} for row in rows]


def _offline(session: Session, weights_digest: str) -> list[dict[str, Any]]:
    """What ``toxicity`` measured on these weights, with the scorer and threshold it used."""
    store = EvidenceStore(session.home.evidence)
    found = []
    for row in session.ledger.evidence(weights_digest):
        if row.check != "toxicity":
            continue
        evidence = store.load(row.check, weights_digest, row.config_digest)
        if evidence is None:
            continue
        values = [item.value for item in evidence.items if item.value is not None]
        about = evidence.tables.get("scorer", {})
        found.append(
            {
                "evidence": evidence.digest,
                "answers": len(values),
                "toxic": int(sum(values)),
                "toxic_share": sum(values) / len(values) if values else None,
                "mean_toxicity": evidence.summary.get("mean_toxicity"),
                "scorer_digest": about.get("digest"),
                "threshold": about.get("threshold"),
            }
        )
    return found


def _offline_cell(found: dict[str, Any]) -> str:
    share = found["toxic_share"]
    return f"{'-' if share is None else format(share, '.4f')} of {found['answers']}"


def _run(
    session: Session,
    settings: LiveSettings,
    scorer: Scorer,
    *,
    host: str,
    port: int,
    every_seconds: float,
) -> int:
    registry = CollectorRegistry()
    series = LiveSeries(registry)
    for arm in {(s.variant, s.checkpoint) for s in session.ledger.live_scores()}:
        series.declare(*arm)
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise UserError(
            f"cannot show series on {host}:{port} ({error.strerror}); choose another --port"
        ) from error
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    session.say(f"series on http://{host}:{server.server_port}/metrics; Ctrl-C ends")
    try:
        while not ending.is_set():
            round_once(session, scorer, settings, series)
            ending.wait(every_seconds)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    return 0


def round_once(
    session: Session, scorer: Scorer, settings: LiveSettings, series: LiveSeries
) -> None:
    """Score what is new and count it; a ledger that fails is counted and asked again later."""

    def count(scores: Sequence[LiveScore]) -> None:
        for one in scores:
            arm = {"variant": one.variant, "checkpoint": one.checkpoint}
            series.declare(one.variant, one.checkpoint)
            series.scored.labels(**arm).inc()
            series.toxic.labels(**arm).inc(one.scores["toxicity"] >= settings.threshold)
            series.refusals.labels(**arm).inc(one.scores["refusal"] >= 0.5)
            series.toxicity.labels(**arm).observe(one.scores["toxicity"])

    try:
        score_new(session.ledger, scorer, settings, _now, count)
    except DBAPIError as error:  # its message would hold what was to be written
        series.failures.inc()
        log.warning("the ledger failed this round (%s)", type(error.orig or error).__name__)
        return
    series.last_round.set(time.time())


def _now() -> datetime:
    return datetime.now(UTC)
