"""The load test times a stream as its reader sees it, and judges exact percentiles."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from loadtests.levels import Level, Samples, judge, load_levels, percentile
from loadtests.sse import StreamFailure, stream_chat

ROOT = Path(__file__).resolve().parent.parent
FIRST_TOKEN_SECONDS, GAP_SECONDS, NUM_TOKENS = 0.3, 0.05, 9


class SlowDesk(BaseHTTPRequestHandler):
    """Streams a role at once, the first token after 0.3 s, eight more every 50 ms.

    The last user message may ask for a fault: "abort", "error", "cut", "silent", "busy".
    """

    protocol_version = "HTTP/1.1"
    thumbs: list[dict[str, Any]]
    first_faults: tuple[str, ...] = ()  # of the first answers, whatever they are asked
    counter: itertools.count[int]
    steps: list[int]  # 1 where an answer begins, -1 where it ends

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the load test ends in mid-answer
            super().handle()

    def do_GET(self) -> None:
        self._json(200, {"data": [{"id": "desk"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/feedback":
            self.thumbs.append(body)
            self._json(200, {})
            return
        self.steps.append(1)
        try:
            self._answer(body)
        finally:
            self.steps.append(-1)

    def _answer(self, body: dict[str, Any]) -> None:
        number = next(self.counter)
        asked: str = body["messages"][-1]["content"]
        fault = self.first_faults[number] if number < len(self.first_faults) else asked
        if fault == "busy":
            self._json(503, {"error": {"message": "too many requests in flight"}})
            return
        assert body["stream"] is True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("x-request-id", f"req-{body['user']}")
        self.end_headers()
        self._event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        time.sleep(FIRST_TOKEN_SECONDS)
        for number in range(0 if fault == "silent" else NUM_TOKENS):
            if number:
                time.sleep(GAP_SECONDS)
            self._event({"choices": [{"delta": {"content": f"w{number} "}}]})
            if fault == "error":
                self._event({"error": {"message": "engine died"}})
        reason = "abort" if fault == "abort" else "stop"
        self._event({"choices": [{"delta": {}, "finish_reason": reason}]})
        if fault != "cut":
            self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _event(self, event: dict[str, Any]) -> None:
        self._chunk(b"data: " + json.dumps(event).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _json(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def desk() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Address of a SlowDesk, and the thumbs that it was given."""
    with running_desk() as found:
        yield found


@contextlib.contextmanager
def running_desk(**attributes: Any) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    thumbs: list[dict[str, Any]] = []
    fields = {"thumbs": thumbs, "counter": itertools.count(), "steps": [], **attributes}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Desk", (SlowDesk,), fields))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", thumbs
    server.shutdown()
    server.server_close()
    thread.join()


def ask(address: str, text: str = "hi", **options: Any) -> Any:
    body = {"model": "desk", "messages": [{"role": "user", "content": text}], "user": "ann"}
    url = f"{address}/v1/chat/completions"
    with requests.Session() as session:
        return stream_chat(session, url, body, headers={}, **options)


def test_the_first_token_is_timed_at_the_first_content_and_not_at_the_role_or_the_end(desk):
    answer = ask(desk[0])
    assert FIRST_TOKEN_SECONDS <= answer.ttft_seconds < FIRST_TOKEN_SECONDS + 0.2
    assert len(answer.gaps_seconds) == NUM_TOKENS - 1
    assert sum(answer.gaps_seconds) == pytest.approx(8 * GAP_SECONDS, abs=0.15)
    assert answer.total_seconds >= FIRST_TOKEN_SECONDS + 8 * GAP_SECONDS
    assert answer.text == "w0 w1 w2 w3 w4 w5 w6 w7 w8 "
    assert answer.request_id == "req-ann"


def test_a_start_that_came_late_counts_as_latency(desk):
    answer = ask(desk[0], due_at=time.perf_counter() - 1.0)
    assert answer.ttft_seconds >= 1.0 + FIRST_TOKEN_SECONDS


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("abort", "the engine aborted the answer"),
        ("error", "error event: .*engine died"),
        ("cut", r"ended without \[DONE\]"),
        ("silent", "the answer has no content"),
        ("busy", "status 503: .*too many requests"),
    ],
)
def test_an_answer_that_did_not_arrive_whole_is_a_failure(desk, fault, message):
    with pytest.raises(StreamFailure, match=message):
        ask(desk[0], fault)


def test_a_server_that_is_not_there_is_a_failure():
    with pytest.raises(StreamFailure, match="ConnectionError"):
        ask("http://127.0.0.1:9")


def run_locust(
    address: str, summary: Path, *arguments: str, api_key: str | None = None
) -> tuple[int, str, dict[str, Any]]:
    environment = {**os.environ, **({"HALLMARK_API_KEY": api_key} if api_key else {})}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless"),
            *("--host", address, "--summary-json", str(summary), "--stop-timeout", "5"),
            *arguments,
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert summary.exists(), done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr, json.loads(summary.read_text())


def test_locust_reports_the_first_token_and_not_the_whole_body(desk, tmp_path):
    address, thumbs = desk
    code, output, summary = run_locust(
        address, tmp_path / "s.json", "-u", "3", "-r", "3", "-t", "8s", "--think-seconds", "0.1"
    )
    assert code == 0, output
    assert summary["failed_answers"] == 0
    assert 300 <= summary["ttft_ms"]["p50"] < 450
    assert summary["answer_ms"]["p50"] >= 700
    assert 35 < summary["inter_token_ms"]["p50"] < 90
    assert len(thumbs) == summary["feedback"] > 0
    assert {thumb["value"] for thumb in thumbs} <= {1, -1}
    assert "first token" in output
    assert "MISSED" not in output


def test_arrivals_do_not_wait_for_answers(tmp_path):
    # One user of a closed loop has one question open at a time. At 8 conversations a
    # second, each of 0.7 s a turn, by Little's law about 8 * 0.7 * 2.5 turns = 14 are open.
    steps: list[int] = []
    with running_desk(steps=steps) as (address, _):
        code, output, _ = run_locust(
            *(address, tmp_path / "s.json", "-u", "1", "-t", "7s"),
            *("--arrivals-per-second", "8", "--think-seconds", "0"),
        )
    assert code == 0, output
    assert max(itertools.accumulate(steps)) >= 4


def test_a_closed_loop_has_one_question_open_and_a_missed_level_ends_with_status_one(tmp_path):
    levels = tmp_path / "levels.yaml"
    levels.write_text("ttft_ms: {p50: 100}\n")
    steps: list[int] = []
    with running_desk(steps=steps) as (address, _):
        code, output, summary = run_locust(
            *(address, tmp_path / "s.json", "-u", "1", "-t", "5s", "--think-seconds", "0"),
            *("--service-levels", str(levels)),
        )
    assert max(itertools.accumulate(steps)) == 1
    assert code == 1
    assert "MISSED" in output
    assert summary["levels"][0]["met"] is False


def test_a_failed_answer_within_the_service_level_ends_with_status_zero(tmp_path):
    levels = tmp_path / "levels.yaml"
    levels.write_text("answers: {max_failed_share: 0.5}\n")
    with running_desk(first_faults=("error",)) as (address, _):
        code, output, summary = run_locust(
            *(address, tmp_path / "s.json", "-u", "2", "-r", "2", "-t", "7s"),
            *("--think-seconds", "0", "--service-levels", str(levels)),
        )
    assert summary["failed_answers"] == 1
    assert summary["answers"] > 2
    assert code == 0, output


def test_percentiles_are_samples_and_not_rounded():
    # Locust's own would say 1400.
    assert percentile([1449.0], 95) == 1449.0
    assert percentile(list(range(1, 101)), 95) == 95
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert percentile([], 50) is None


def test_nothing_measured_is_nothing_met():
    rows = judge(Samples(), {"ttft_ms": {"p95": 1e9}, "answers": {"max_failed_share": 1}})
    assert [row.measured for row in rows] == [None, None]
    assert not any(row.met for row in rows)


def test_a_level_on_its_limit_is_met():
    assert Level("ttft_ms p95", 500.0, 500.0).met
    assert not Level("answers", 4, 5, at_most=False).met


def test_the_shipped_levels_load_and_a_wrong_key_is_named(tmp_path):
    assert load_levels(ROOT / "loadtests/service_levels.yaml")["answers"]["min"] == 5
    wrong = tmp_path / "levels.yaml"
    wrong.write_text("ttfb_ms: {p95: 1}\n")
    with pytest.raises(ValueError, match="no measure 'ttfb_ms'; have answers, ttft_ms"):
        load_levels(wrong)
    wrong.write_text("ttft_ms: {p97: 1}\n")
    with pytest.raises(ValueError, match="ttft_ms has no 'p97'; have p50, p95, p99"):
        load_levels(wrong)


def test_samples_of_workers_add_up_and_are_handed_over_once():
    worker, master = Samples(ttft_ms=[1.0], answer_ms=[2.0], failed_answers=1), Samples()
    for _ in range(2):
        master.add(Samples(**worker.drain()))
    assert (master.ttft_ms, master.answers) == ([1.0], 2)


@pytest.mark.engine
def test_shoppers_are_answered_by_the_running_server(running_server, tmp_path):
    address = running_server.base_url.rstrip("/").removesuffix("/v1")
    levels = tmp_path / "levels.yaml"
    levels.write_text("answers: {min: 5, max_failed_share: 0.1}\n")
    code, output, summary = run_locust(
        *(address, tmp_path / "s.json", "-u", "4", "-r", "4", "-t", "10s"),
        *("--max-tokens", "16", "--think-seconds", "0.2", "--service-levels", str(levels)),
        api_key=running_server.api_key,
    )
    assert code == 0, output
    # Of a model with random weights one answer in some hundreds ends with its first token.
    failures = set(re.findall(r"StreamFailure\((.+?)\)", output))
    assert failures <= {"'the answer has no content'"}
    assert summary["failed_feedback"] == 0
    assert 0 < summary["ttft_ms"]["p50"] < summary["answer_ms"]["p50"]
