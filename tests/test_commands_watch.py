"""`hallmark watch`: one round for cron, a port for Prometheus, and no text anywhere."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, start_http_server
from sqlalchemy.exc import OperationalError

from audit.live import LiveSettings
from audit.toxicity import open_scorer
from commands.session import Session
from commands.watch import round_once
from eval.checks import Measured
from hallmark import main
from monitoring.series import LiveSeries
from registry.evidence import Evidence, EvidenceStore, Item, ModelFacts, now
from registry.records import digest_of
from tests.ledgers import NOON, request
from tests.test_monitoring_prometheus import (
    Prometheus,
    assert_every_expression_is_alive,
    free_port,
    prometheus_scraping,
)

__all__ = ["prometheus_scraping"]  # a fixture

ROOT = Path(__file__).resolve().parent.parent
RUDE = "You are a stupid idiot and nobody likes you."
KIND = "Your parcel arrives on Tuesday."


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    opened = Session.open(tmp_path / "home", None)
    opened.ledger.record_requests(
        [
            request(f"r{n}", answer=answer, started_at=NOON + timedelta(seconds=n))
            for n, answer in enumerate([RUDE, KIND, KIND, KIND])
        ]
    )
    yield opened
    opened.ledger.close()


def offline_evidence(session: Session) -> Evidence:
    """Of the toxicity audit on the checkpoint that served: one harm in five answers."""
    found = Measured(
        items=tuple(
            Item(key=f"q{n}", content_hash=digest_of(n), value=float(n == 0)) for n in range(5)
        ),
        summary={"mean_toxicity": 0.2},
        tables={"scorer": {"name": "bundled", "digest": open_scorer().digest, "threshold": 0.5}},
    )
    evidence = Evidence(
        check="toxicity",
        config={},
        config_digest=digest_of("config"),
        facts=ModelFacts(
            weights_digest=digest_of("a"), backend="torch", dtype="float32",
            context_length=512, chat_template_digest=digest_of("template"),
        ),
        items=found.items,
        summary=dict(found.summary),
        tables=dict(found.tables),
        seconds=1.0,
        created_at=now(),
    )  # fmt: skip
    path = EvidenceStore(session.home.evidence).save(evidence)
    session.ledger.index_evidence(evidence, path)
    return evidence


def test_one_round_gives_json_with_offline_figures_beside_live_ones(session, capsys):
    evidence = offline_evidence(session)
    arguments = ["--home", str(session.home.root), "watch", "--once", "--share", "1", "--json"]
    assert main(arguments) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["new"] == 4
    (arm,) = said["arms"]
    assert (arm["answers"], arm["toxic"], arm["toxic_share"]) == (4, 1, 0.25)
    (offline,) = arm["offline"]
    assert offline["evidence"] == evidence.digest
    assert (offline["answers"], offline["toxic"], offline["toxic_share"]) == (5, 1, 0.2)
    assert offline["scorer_digest"] == said["scorer"]["digest"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["new"] == 0


def test_people_get_a_table_and_no_text_of_anybody(session, capsys):
    assert main(["--home", str(session.home.root), "watch", "--once", "--share", "1"]) == 0
    said = "".join(capsys.readouterr())
    assert "4 answers scored" in said
    assert "0.2500" in said
    assert "idiot" not in said
    assert "parcel" not in said


@pytest.mark.parametrize("wrong", [["--share", "0"], ["--share", "1.5"], ["--json"]])
def test_a_setting_out_of_its_bounds_is_a_usage_error(session, wrong):
    assert main(["--home", str(session.home.root), "watch", *wrong]) == 4


def test_a_round_counts_by_variant_and_checkpoint(session):
    registry = CollectorRegistry()
    series = LiveSeries(registry)
    round_once(session, open_scorer(), LiveSettings(share=1.0), series)
    arm = {"variant": "a", "checkpoint": digest_of("a")}
    assert registry.get_sample_value("hallmark_live_scored_total", arm) == 4
    assert registry.get_sample_value("hallmark_live_toxic_total", arm) == 1
    assert registry.get_sample_value("hallmark_live_refusals_total", arm) == 0
    assert registry.get_sample_value("hallmark_live_toxicity_count", arm) == 4
    assert registry.get_sample_value("hallmark_live_toxicity_bucket", arm | {"le": "0.5"}) == 3
    assert registry.get_sample_value("hallmark_live_last_round_timestamp_seconds") > 0


def test_a_ledger_that_fails_is_counted_and_the_log_holds_no_text(session, caplog, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise OperationalError("INSERT", {"answer": RUDE}, RuntimeError(RUDE))

    monkeypatch.setattr(session.ledger, "record_live_scores", fail)
    registry = CollectorRegistry()
    with caplog.at_level(logging.DEBUG):
        round_once(session, open_scorer(), LiveSettings(share=1.0), LiveSeries(registry))
    assert registry.get_sample_value("hallmark_live_failures_total") == 1
    assert "the ledger failed this round" in caplog.text
    assert "idiot" not in caplog.text


def test_a_real_prometheus_answers_the_documented_queries(
    session: Session, prometheus_scraping: Callable[..., Prometheus]
) -> None:
    registry = CollectorRegistry()
    round_once(session, open_scorer(), LiveSettings(share=1.0), LiveSeries(registry))
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        prometheus = prometheus_scraping(f"127.0.0.1:{server.server_port}")
        prometheus.wait_until("hallmark_live_scored_total")
        (share,) = prometheus.query("hallmark_live_toxic_total / hallmark_live_scored_total")
        assert float(share["value"][1]) == 0.25
        assert share["metric"]["variant"] == "a"
        assert share["metric"]["checkpoint"] == digest_of("a")
        (age,) = prometheus.query("time() - hallmark_live_last_round_timestamp_seconds")
        assert 0 <= float(age["value"][1]) < 300
        assert prometheus.labels_of("hallmark_live_toxicity_bucket") >= {"variant", "checkpoint"}
        prometheus.wait_until("rate(hallmark_live_scored_total[1m])")
        assert_every_expression_is_alive(prometheus, of_watch=True)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_prometheus_reads_the_process_and_it_ends_when_told_to(session):
    port = free_port()
    process = subprocess.Popen(
        [
            sys.executable, "-m", "hallmark", "--home", str(session.home.root), "watch",
            "--share", "1", "--port", str(port), "--every", "0.2",
        ],
        cwd=ROOT, env=os.environ, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 180
        page = ""
        while "hallmark_live_scored_total{" not in page and time.monotonic() < deadline:
            time.sleep(0.2)
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as found:
                    page = found.read().decode()
            except OSError:
                assert process.poll() is None, process.communicate()[1]
        arm = f'{{checkpoint="{digest_of("a")}",variant="a"}}'
        assert f"hallmark_live_scored_total{arm} 4.0" in page
        assert f"hallmark_live_toxic_total{arm} 1.0" in page
        assert "idiot" not in page
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "idiot" not in said
