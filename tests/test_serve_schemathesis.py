"""No request that the OpenAPI document allows, and none that it forbids, is a 500."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from registry.ledger import Ledger
from tests.serving_fake import bench

KEY = {"Authorization": "Bearer open-sesame"}
QUICK = settings(
    max_examples=12,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@dataclass
class Target:
    root: str
    document: dict[str, Any]
    session: requests.Session


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A gateway over fake engines and a real ledger, on a thread of its own."""
    url = f"sqlite:///{tmp_path_factory.mktemp('fuzzed') / 'ledger.db'}"
    up, roots = threading.Event(), []
    loop, ending = asyncio.new_event_loop(), asyncio.Event()

    async def run() -> None:
        with Ledger(url) as ledger:
            async with bench(
                ledger=ledger, api_keys=("open-sesame",), store_conversations=True
            ) as gateway:
                roots.append(gateway.root)
                up.set()
                await ending.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert up.wait(30)
    with requests.Session() as session:
        session.headers.update(KEY)
        document = session.get(roots[0] + "/openapi.json").json()
        yield Target(roots[0], document, session)
    loop.call_soon_threadsafe(ending.set)
    thread.join()
    loop.close()


def check(answer: Any, what: str) -> None:
    """No 500; what is refused is refused in OpenAI's shape."""
    assert answer.status_code != 500, (what, answer.text)
    if answer.status_code >= 400:
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}, what
        assert "Traceback" not in error["message"]


def ask_all(operation: Any, mode: GenerationMode, target: Target) -> None:
    """Ask for what Schemathesis makes of one operation's schema."""

    @QUICK
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        answer = case.call(base_url=target.root, headers=KEY, timeout=10)
        check(answer, f"{operation.label}: {case.body!r}")

    ask()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_operation_answers_500(target, mode):
    schema = schemathesis.openapi.from_dict(target.document)
    asked = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        if not operation.body and mode is GenerationMode.NEGATIVE and not operation.path_parameters:
            continue  # nothing of it can be wrong
        ask_all(operation, mode, target)
        asked.add(operation.label)
    assert {"POST /v1/chat/completions", "POST /v1/completions", "POST /v1/feedback"} <= asked


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/feedback", "/v1/arena/battles"])
def test_no_bytes_at_all_answer_500(target, path):
    @settings(QUICK, max_examples=30)
    @given(data=st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode()))
    def send(data: bytes) -> None:
        check(target.session.post(target.root + path, data=data, timeout=10), f"{path}: {data!r}")

    send()


def test_every_route_for_machines_is_in_the_document(target):
    paths = target.document["paths"]
    assert target.document["openapi"].startswith("3.1")
    assert paths["/v1/chat/completions"]["post"]["security"] == [{"key": []}]
    assert "scope admin" in paths["/metrics"]["get"]["description"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert "default" in operation["responses"], (method, path)
