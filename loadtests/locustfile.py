"""Shoppers who ask the support desk, read the streamed answers, and say what they think.

    python -m locust -f loadtests/locustfile.py --headless --host http://127.0.0.1:8000 \\
        -u 8 -r 4 -t 60s

With ``--arrivals-per-second R`` conversations start by a Poisson schedule that does not
wait for answers (an open loop), and lateness counts as latency. Without it each user
starts the next conversation after the last (a closed loop): a slow server is then asked
less, and looks better than it is. The exit status is 1 where a service level is missed.
An API key is taken from HALLMARK_API_KEY.
"""

from __future__ import annotations

import itertools
import os
import random
import time
import uuid
from pathlib import Path
from typing import Any

import gevent
import requests
from gevent.pool import Pool
from locust import User, events, task

from loadtests.levels import Samples, as_json, judge, load_levels, table
from loadtests.sse import Answer, StreamFailure, stream_chat

SAMPLES = Samples()
USER_NUMBERS = itertools.count()

CONVERSATIONS = (
    ("Where is my order {order}?", "When will it arrive?", "Thank you!"),
    ("I want to return order {order}.", "It does not fit.", "How long does the refund take?"),
    ("Hello", "Can I change the delivery address of order {order}?"),
    ("I forgot my password.", "I have no access to that e-mail any more."),
    ("Do you have the blue jacket in size M?", "And in green?"),
    ("What is the weather like?",),
)


def _options(parser: Any, **_: Any) -> None:
    here = Path(__file__).parent
    parser.add_argument("--model", default="", help="default: the first that /v1/models lists")
    parser.add_argument("--max-tokens", type=int, default=32, help="per answer")
    parser.add_argument("--arrivals-per-second", type=float, default=0.0, help="open loop")
    parser.add_argument("--think-seconds", type=float, default=1.0, help="mean, between turns")
    parser.add_argument("--seed", type=int, default=0, help="of arrivals and journeys")
    parser.add_argument("--service-levels", default=str(here / "service_levels.yaml"))
    parser.add_argument("--summary-json", default="", help="write exact percentiles here")


class Shopper(User):  # type: ignore[misc]  # locust is not typed
    """A person with one conversation at a time, or under arrivals a source of them."""

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.options = environment.parsed_options
        worker = getattr(environment.runner, "worker_index", 0)  # workers share no people
        self.rng = random.Random(f"{self.options.seed}-{worker}-{next(USER_NUMBERS)}")
        self.session = requests.Session()
        self.pool = Pool()
        self.next_due = time.perf_counter()
        self.model = self.options.model
        key = os.environ.get("HALLMARK_API_KEY")
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}

    def on_start(self) -> None:
        if not self.model:
            found = self.session.get(f"{self.host}/v1/models", headers=self.headers, timeout=30)
            found.raise_for_status()
            self.model = found.json()["data"][0]["id"]

    def on_stop(self) -> None:
        self.pool.kill()

    def wait_time(self) -> float:
        """Seconds until the next conversation; the schedule alone waits under arrivals."""
        return 0.0 if self.options.arrivals_per_second else self._think_seconds()

    @task  # type: ignore[untyped-decorator]  # locust is not typed
    def support(self) -> None:
        if not self.options.arrivals_per_second:
            self.converse(None)
            return
        rate = self.options.arrivals_per_second / max(self.options.num_users or 1, 1)
        self.next_due += self.rng.expovariate(rate)
        gevent.sleep(max(self.next_due - time.perf_counter(), 0))
        self.pool.spawn(self.converse, self.next_due)

    def converse(self, due_at: float | None) -> None:
        """All turns of one conversation, then a thumb for the last answer."""
        person = f"shopper-{uuid.UUID(int=self.rng.getrandbits(128))}"
        order = self.rng.randrange(10_000, 100_000)
        messages: list[dict[str, str]] = []
        answer: Answer | None = None
        for turn in self.rng.choice(CONVERSATIONS):
            if messages:
                gevent.sleep(self._think_seconds())
            messages.append({"role": "user", "content": turn.format(order=order)})
            answer = self._ask(messages, person, due_at)
            due_at = None
            if answer is None:
                return
            messages.append({"role": "assistant", "content": answer.text})
        if answer is not None and answer.request_id:
            self._thumb(answer.request_id)

    def _ask(
        self, messages: list[dict[str, str]], person: str, due_at: float | None
    ) -> Answer | None:
        body = {
            "model": self.model,
            "messages": messages,
            "max_tokens": self.options.max_tokens,
            "user": person,
        }
        start = time.perf_counter() if due_at is None else due_at
        try:
            answer = stream_chat(
                self.session,
                f"{self.host}/v1/chat/completions",
                body,
                headers=self.headers,
                due_at=start,
            )
        except StreamFailure as failure:
            SAMPLES.failed_answers += 1
            self._fire("STREAM", "whole answer", time.perf_counter() - start, failure)
            return None
        SAMPLES.ttft_ms.append(answer.ttft_seconds * 1000)
        SAMPLES.inter_token_ms.extend(gap * 1000 for gap in answer.gaps_seconds)
        SAMPLES.answer_ms.append(answer.total_seconds * 1000)
        self._fire("TTFT", "first token", answer.ttft_seconds)
        self._fire("STREAM", "whole answer", answer.total_seconds, length=len(answer.text))
        return answer

    def _thumb(self, request_id: str) -> None:
        body = {
            "request_id": request_id,
            "kind": "thumb",
            "value": self.rng.choice((1, 1, -1)),
        }
        start = time.perf_counter()
        failure: Exception | None = None
        try:
            reply = self.session.post(
                f"{self.host}/v1/feedback", json=body, headers=self.headers, timeout=30
            )
            reply.raise_for_status()
        except requests.RequestException as error:
            failure = error
            SAMPLES.failed_feedback += 1
        SAMPLES.feedback += 1
        self._fire("POST", "/v1/feedback", time.perf_counter() - start, failure)

    def _fire(
        self,
        kind: str,
        name: str,
        seconds: float,
        failure: Exception | None = None,
        *,
        length: int = 0,
    ) -> None:
        self.environment.events.request.fire(
            request_type=kind,
            name=name,
            response_time=seconds * 1000,
            response_length=length,
            exception=failure,
            context={},
        )

    def _think_seconds(self) -> float:
        mean = self.options.think_seconds
        return self.rng.expovariate(1 / mean) if mean > 0 else 0.0


def _send_samples(data: dict[str, Any], **_: Any) -> None:
    """A worker hands its samples over with locust's own statistics."""
    data["samples"] = SAMPLES.drain()


def _take_samples(data: dict[str, Any], **_: Any) -> None:
    SAMPLES.add(Samples(**data["samples"]))


def _judge(environment: Any, **_: Any) -> None:
    options = environment.parsed_options
    if environment.runner is None or getattr(options, "worker", False):
        return
    rows = judge(SAMPLES, load_levels(Path(options.service_levels)))
    print(table(rows))
    if options.summary_json:
        Path(options.summary_json).write_text(as_json(SAMPLES, rows) + "\n")
    met = all(row.met for row in rows) and not SAMPLES.failed_feedback
    # Locust would end with 1 for a single failed answer; the service levels decide.
    environment.process_exit_code = 0 if met and not environment.runner.exceptions else 1


events.init_command_line_parser.add_listener(_options)
events.report_to_master.add_listener(_send_samples)
events.worker_report.add_listener(_take_samples)
events.quitting.add_listener(_judge)
