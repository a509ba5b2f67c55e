"""A real Prometheus scrapes, and every query of dashboard and rules finds what it names."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, start_http_server

from monitoring.queries import RULES, expressions, label_names, series_names
from monitoring.series import Series

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


class Prometheus:
    """A running Prometheus, asked over its HTTP API."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, path: str, **parameters: str) -> Any:
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it is still starting, and ``wait`` asks again
                raise
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def query(self, promql: str) -> list[Any]:
        found: list[Any] = self.ask("query", query=promql)["result"]
        return found

    def labels_of(self, name: str) -> set[str]:
        """All labels on the live series of a name; empty where there is none."""
        found = self.ask("series", **{"match[]": name})
        return {label for series in found for label in series}

    def wait_until(self, promql: str, timeout_seconds: float = 30) -> None:
        wait(lambda: self.query(promql), f"{promql} stays empty", timeout_seconds)


def wait(holds: Callable[[], Any], complaint: str, timeout_seconds: float = 30) -> None:
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            if holds():
                return
        except (OSError, urllib.error.URLError):
            pass
        if time.monotonic() > deadline:
            raise AssertionError(f"{complaint} after {timeout_seconds:g} s")
        time.sleep(0.25)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def prometheus_scraping(
    tmp_path: Path, needs_program: Callable[[str], str]
) -> Iterator[Callable[..., Prometheus]]:
    """``prometheus_scraping(target, api_key)``: scrapes every second, with the real rules."""
    program = needs_program("prometheus")
    started: list[subprocess.Popen[bytes]] = []

    def start(target: str, api_key: str | None = None) -> Prometheus:
        job: dict[str, Any] = {
            "job_name": "hallmark",
            "static_configs": [{"targets": [target]}],
        }
        if api_key:
            job["authorization"] = {"credentials": api_key}
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [job],
        }
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
        address = f"127.0.0.1:{free_port()}"
        with (tmp_path / "prometheus.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    program,
                    f"--config.file={tmp_path / 'prometheus.yml'}",
                    f"--storage.tsdb.path={tmp_path / 'data'}",
                    f"--web.listen-address={address}",
                    "--log.level=warn",
                ],
                stdout=log,
                stderr=log,
            )
        started.append(process)
        server = Prometheus(address)
        server.wait_until('up{job="hallmark"} == 1')
        return server

    yield start
    for process in started:
        process.terminate()
        process.wait(timeout=20)


def assert_every_expression_is_alive(server: Prometheus, *, of_watch: bool = False) -> None:
    """Series and labels exist for all; panels and recorded series also have values.

    An alert may be empty (nothing is wrong), but what it names must be there. The series of
    `hallmark watch`, a process of its own, are looked at apart from the gateway's.
    """
    for expression in expressions():
        if of_watch != ("hallmark_live_" in expression.promql):
            continue
        live: set[str] = set()
        for name in series_names(expression.promql):
            labels = server.labels_of(name)
            assert labels, f"{expression.where}: no live series {name}"
            live |= labels
        missing = label_names(expression.promql) - live
        assert not missing, f"{expression.where}: no live label {sorted(missing)}"
        values = server.query(expression.promql)
        if not expression.where.startswith("alert "):
            assert values, f"{expression.where} is empty: {expression.promql}"


def one_of_everything(series: Series, variant: str) -> None:
    """What one answered request and one thumb do to the series."""
    series.requests.labels(variant=variant, route="chat", status="200").inc()
    series.duration.labels(variant=variant, route="chat").observe(0.2)
    series.ttft.labels(variant=variant).observe(0.02)
    series.overhead.labels(variant=variant).observe(0.001)
    series.tokens.labels(variant=variant, kind="completion").inc(7)
    series.feedback.labels(variant=variant, kind="thumb", sentiment="positive").inc()


@pytest.fixture
def exporter() -> Iterator[tuple[str, Series]]:
    registry = CollectorRegistry()
    series = Series(registry)
    for variant in ("a", "b"):
        series.declare_variant(variant, checkpoint="sha256:00", experiment="spring")
        series.engine_up.labels(variant=variant).set(1)
    server, thread = start_http_server(free_port(), addr="127.0.0.1", registry=registry)
    yield f"127.0.0.1:{server.server_port}", series
    server.shutdown()
    server.server_close()
    thread.join()


def test_every_query_finds_its_series_on_an_exporter_of_the_series(exporter, prometheus_scraping):
    target, series = exporter
    server = prometheus_scraping(target)
    for _ in range(4):
        for variant in ("a", "b"):
            one_of_everything(series, variant)
        time.sleep(1.1)
    server.wait_until("hallmark_failure_ratio_rate5m")
    assert_every_expression_is_alive(server)
    (alone,) = server.query('hallmark_failure_ratio_rate5m{variant="a"}')
    assert float(alone["value"][1]) == 0


def test_the_alert_of_an_engine_that_went_down_becomes_pending(exporter, prometheus_scraping):
    target, series = exporter
    server = prometheus_scraping(target)
    series.engine_up.labels(variant="b").set(0)
    server.wait_until('ALERTS{alertname="HallmarkEngineDown", variant="b"}')
    assert not server.query('ALERTS{alertname="HallmarkEngineDown", variant="a"}')


def test_names_survive_openmetrics_as_the_rules_spell_them(exporter, prometheus_scraping):
    target, _ = exporter
    request = urllib.request.Request(f"http://{target}/metrics", headers={"Accept": OPENMETRICS})
    with urllib.request.urlopen(request) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    server = prometheus_scraping(target)
    server.wait_until("hallmark_rejections_total")
    stored = server.ask("label/__name__/values")
    assert "hallmark_records_dropped_total" in stored
    assert not [name for name in stored if ":" in name]


def post(base_url: str, path: str, body: dict[str, Any], api_key: str | None) -> Any:
    """The answer's headers and bytes; ``path`` counts from the server's root."""
    headers = {"Content-Type": "application/json", "x-hallmark-unit": str(body.get("user"))}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    request = urllib.request.Request(
        base_url + path, data=json.dumps(body).encode(), headers=headers
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.headers, answer.read()


@pytest.mark.engine
def test_every_query_finds_its_series_on_the_running_server(running_server, prometheus_scraping):
    root = running_server.base_url.rstrip("/").removesuffix("/v1")
    api_key = running_server.api_key
    with urllib.request.urlopen(
        urllib.request.Request(
            root + "/v1/models",
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
        )
    ) as answer:
        model = json.load(answer)["data"][0]["id"]
    server = prometheus_scraping(urllib.parse.urlsplit(root).netloc, api_key)
    variants: set[str] = set()
    for number in range(16):  # chance that one of two even arms gets none: 2 ** -15
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "Where is my order 10042?"}],
            "max_tokens": 8,
            "stream": number % 2 == 0,
            "user": f"watcher-{number}",
        }
        headers, _ = post(root, "/v1/chat/completions", body, api_key)
        variants.add(headers["x-hallmark-variant"])
        thumb = {"request_id": headers["x-request-id"], "kind": "thumb", "value": 1}
        post(root, "/v1/feedback", thumb, api_key)
        if number % 4 == 3:
            time.sleep(1.1)
    for variant in variants:
        server.wait_until(f'hallmark_failure_ratio_rate5m{{variant="{variant}"}}')
        server.wait_until(f'hallmark_feedback_total{{variant="{variant}", kind="thumb"}} > 0')
    assert_every_expression_is_alive(server)
    up = server.query("hallmark_engine_up == 1")
    assert variants <= {found["metric"]["variant"] for found in up}
    checkpoints = {s["metric"]["checkpoint"] for s in server.query("hallmark_variant_info")}
    assert all(digest.startswith("sha256:") for digest in checkpoints)
