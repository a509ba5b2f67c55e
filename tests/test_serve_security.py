"""What strangers learn, what answers tell a browser, and what never reaches a log."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import AsyncIterator

import aiohttp
import pytest
from pydantic import ValidationError
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.types import Receive, Scope, Send

from registry.api_keys import ApiKey
from registry.conversation import Message
from registry.ledger import Ledger
from serve.headers import API_POLICY, PAGE_POLICY, dressed, guarded
from serve.keys import BEGINNING, new_key
from serve.openapi import PUBLIC
from serve.run import ServeSettings
from serve.settings import SettingsError, settings_from_environment
from tests.serving_fake import Bench, bench
from tests.test_serve_settings import PLAN

CANARY = "xylophone-7391"


def key(*scopes: str, **limits: int) -> tuple[dict[str, str], ApiKey]:
    token, made = new_key("-".join(scopes), scopes, now=BEGINNING, **limits)  # type: ignore[arg-type]  # str
    return {"Authorization": f"Bearer {token}"}, made


CHAT, CHAT_KEY = key("chat")
FEEDBACK, FEEDBACK_KEY = key("feedback")
ADMIN, ADMIN_KEY = key("admin")
LIMITED, LIMITED_KEY = key("chat", "feedback", requests_per_minute=6, max_concurrent=2)


@pytest.fixture
async def gateway() -> AsyncIterator[Bench]:
    async with bench(keys=[CHAT_KEY, FEEDBACK_KEY, ADMIN_KEY, LIMITED_KEY]) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def chat(said: str = "hi", **more: object) -> dict[str, object]:
    return {"model": "support@a", "messages": [{"role": "user", "content": said}], **more}


async def ask(
    http: aiohttp.ClientSession,
    gateway: Bench,
    headers: dict[str, str],
    body: object = None,
    path: str = "/v1/chat/completions",
) -> tuple[int, bytes]:
    async with http.post(gateway.root + path, json=body or chat(), headers=headers) as answer:
        return answer.status, await answer.read()


async def test_without_a_key_every_route_says_the_same_and_nothing_more(gateway, http):
    async with http.get(gateway.root + "/openapi.json", headers=CHAT) as answer:
        document = await answer.json()
    routes = [(m, path) for path, methods in document["paths"].items() for m in methods]
    assert {"/v1/chat/completions", "/v1/feedback", "/metrics", "/admin/variants"} <= {
        path for _, path in routes
    }
    said = set()
    for method, path in [*routes, ("get", "/nothing/here"), ("delete", "/v1/models")]:
        if path in PUBLIC:
            continue
        async with http.request(method, gateway.root + path.replace("{variant}", "a")) as answer:
            assert answer.status == 401, (method, path)
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            said.add(await answer.read())
    assert len(said) == 1


async def test_without_a_key_probes_tell_the_state_and_no_names(gateway, http):
    async with http.get(gateway.root + "/readyz") as answer:
        assert (answer.status, await answer.json()) == (200, {"status": "ready"})
    async with http.get(gateway.root + "/readyz", headers=CHAT) as answer:
        assert (await answer.json())["variants"] == {"a": "up", "b": "up"}


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/models", "chat"),
        ("/metrics", "admin"),
        ("/metrics/engines/a", "admin"),
        ("/admin/variants", "admin"),
        ("/v1/feedback/metrics", "feedback"),
    ],
)
async def test_a_key_opens_only_the_routes_of_its_scope(gateway, http, path, allowed):
    for scope, headers in (("chat", CHAT), ("feedback", FEEDBACK), ("admin", ADMIN)):
        async with http.get(gateway.root + path, headers=headers) as answer:
            assert answer.status == (200 if scope == allowed else 403), (path, scope)


async def test_a_feedback_key_cannot_chat_and_the_engine_hears_nothing_of_it(gateway, http):
    status, body = await ask(http, gateway, FEEDBACK)
    assert (status, json.loads(body)["error"]["code"]) == (403, "missing_scope")
    assert gateway.engines["a"].bodies == []


async def test_limits_are_kept_across_routes_and_given_back_by_clients_that_leave(gateway, http):
    waiting = [asyncio.create_task(ask(http, gateway, LIMITED, chat("wait"))) for _ in range(2)]
    await gateway.engines["a"].started.wait()
    await asyncio.sleep(0.1)
    status, body = await ask(http, gateway, LIMITED)
    assert status == 429
    assert "2 requests at a time" in json.loads(body)["error"]["message"]
    for task in waiting:
        task.cancel()
    thumb = {"request_id": "req-1", "kind": "thumb", "value": 1}
    for _ in range(100):  # the slots come back within a moment
        status, _ = await ask(http, gateway, LIMITED, thumb, "/v1/feedback")
        if status == 201:
            break
        await asyncio.sleep(0.01)
    statuses = [(await ask(http, gateway, LIMITED))[0] for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    async with http.post(
        gateway.root + "/v1/chat/completions", json=chat(), headers=LIMITED
    ) as answer:
        assert 1 <= int(answer.headers["Retry-After"]) <= 10
    assert gateway.value("hallmark_rejections_total", reason="rate_limited") >= 3


async def test_every_answer_carries_the_security_headers(gateway, http):
    async with http.post(
        gateway.root + "/v1/chat/completions", json=chat(stream=True), headers=CHAT
    ) as stream:
        await stream.read()
    async with (
        http.get(gateway.root + "/v1/models", headers=CHAT) as models,
        http.get(gateway.root + "/nothing", headers=CHAT) as missing,
        http.get(gateway.root + "/healthz") as health,
    ):
        for answer in (stream, models, missing, health):
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["X-Frame-Options"] == "DENY"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert "Server" not in answer.headers or "uvicorn" not in answer.headers["Server"]
        assert stream.headers["Cache-Control"] == "no-cache"
        assert models.headers["Cache-Control"] == "no-store"


def test_a_page_may_load_its_own_origin_and_a_header_that_is_set_stays():
    page = dict(dressed(200, [(b"content-type", b"text/html; charset=utf-8")]))
    assert page[b"content-security-policy"] == PAGE_POLICY
    assert b"unsafe" not in PAGE_POLICY
    own = dressed(200, [(b"Content-Security-Policy", b"default-src 'self'")])
    assert [value for name, value in own if name.lower() == b"content-security-policy"] == [
        b"default-src 'self'"
    ]
    assert dict(dressed(200, []))[b"content-security-policy"] == API_POLICY
    assert HTMLResponse("").headers["content-type"].startswith("text/html")


async def preflight(origins: tuple[str, ...], origin: str) -> dict[bytes, bytes]:
    """The headers of the answer to a browser's question before a POST."""
    got: dict[bytes, bytes] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("no")(scope, receive, send)

    async def send(message: object) -> None:
        if message["type"] == "http.response.start":  # type: ignore[index]  # a message
            got.update(message["headers"])  # type: ignore[index]  # a message

    asked = [
        (b"origin", origin.encode()),
        (b"access-control-request-method", b"POST"),
        (b"access-control-request-headers", b"authorization"),
    ]
    scope = {"type": "http", "method": "OPTIONS", "path": "/", "headers": asked}
    await guarded(app, origins)(scope, None, send)  # type: ignore[arg-type]  # not received from
    return got


async def test_other_origins_may_ask_only_where_they_are_named():
    here = "https://chat.example.org"
    assert b"access-control-allow-origin" not in await preflight((), here)
    allowed = await preflight((here,), here)
    assert allowed[b"access-control-allow-origin"] == here.encode()
    assert b"access-control-allow-credentials" not in allowed
    other = await preflight((here,), "https://evil.example.org")
    assert b"access-control-allow-origin" not in other


@pytest.mark.parametrize("origin", ["*", "https://*.example.org", "https://a.org/path", "a.org"])
def test_an_origin_that_names_nobody_is_refused(origin, tmp_path):
    with pytest.raises(SettingsError, match=r"HALLMARK_CORS_ORIGINS.*is no origin"):
        settings_from_environment({"HALLMARK_CORS_ORIGINS": origin}, plan=PLAN, home=tmp_path)


def test_settings_show_no_secret(tmp_path):
    environ = {
        "HALLMARK_API_KEYS": "geheim-1",
        "HALLMARK_REDIS_URL": "redis://user:geheim-2@cache:6379/0",
    }
    settings = settings_from_environment(environ, plan=PLAN, home=tmp_path)
    assert isinstance(settings, ServeSettings)
    assert "geheim" not in repr(settings)
    assert "geheim" not in settings.model_dump_json()
    with pytest.raises(SettingsError) as caught:
        settings_from_environment(environ | {"HALLMARK_PORT": "x"}, plan=PLAN, home=tmp_path)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "said",
    ["hello", "context", "busy", "broken", "abort", "abort later", "hang up", "break off"],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_no_prompt_reaches_logs_or_metrics(caplog, said, stream):
    caplog.set_level(logging.DEBUG)
    async with bench(store_conversations=True) as gateway, aiohttp.ClientSession() as session:
        history = [
            {"role": "user", "content": CANARY},
            {"role": "assistant", "content": [{"type": "text", "text": CANARY}, 7]},
            {"role": "user", "content": said},
        ]
        body = {"model": "support@a", "messages": history, "user": CANARY, "stream": stream}
        headers = {"x-hallmark-unit": CANARY}
        await ask(session, gateway, headers, body)
        await ask(session, gateway, headers, body | {"model": CANARY})
        await ask(session, gateway, headers, {"request_id": CANARY, "text": CANARY}, "/v1/feedback")
        for raw in (CANARY.encode(), b'{"model": "' + CANARY.encode(), b'{"\xff": 1}'):
            async with session.post(gateway.root + "/v1/chat/completions", data=raw):
                pass
        await asyncio.sleep(0.1)
        async with session.get(gateway.root + "/metrics") as answer:
            shown = await answer.text()
    assert CANARY not in shown
    assert CANARY not in caplog.text


async def test_no_text_reaches_the_log_from_a_ledger_that_fails(caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Ledger(url) as ledger:
        async with (
            bench(ledger=ledger, store_conversations=True) as gateway,
            aiohttp.ClientSession() as session,
        ):
            gateway.engines["a"].words = (CANARY,)
            with sqlite3.connect(tmp_path / "ledger.db") as other:
                other.execute("DROP TABLE requests")
                other.execute("DROP TABLE feedback")
            assert (await ask(session, gateway, {}, chat(CANARY)))[0] == 200
            comment = {"request_id": "req-1", "kind": "comment", "text": CANARY}
            status, body = await ask(session, gateway, {}, comment, "/v1/feedback")
    assert status == 503
    error = json.loads(body)["error"]
    assert error["code"] == "not_stored"
    assert "records were not written" in caplog.text
    assert CANARY not in caplog.text
    assert CANARY not in error["message"]


def test_a_record_that_does_not_fit_does_not_say_what_it_held():
    with pytest.raises(ValidationError) as caught:
        Message(role="user", content={"text": CANARY})  # type: ignore[arg-type]  # no text
    assert CANARY not in str(caught.value)


async def test_a_failure_inside_the_gateway_names_an_id_and_nothing_else(
    caplog, monkeypatch, gateway, http
):
    def fail(*_: object) -> None:
        raise RuntimeError(f"secret {ADMIN_KEY.digest}")

    monkeypatch.setattr("serve.proxy.parse_body", fail)
    status, body = await ask(http, gateway, CHAT, chat(CANARY))
    assert status == 500
    error = json.loads(body)["error"]
    assert "secret" not in error["message"]
    assert "req-" in error["message"]
    assert CANARY not in caplog.text
    assert CHAT["Authorization"].removeprefix("Bearer ") not in caplog.text


async def test_a_failure_of_a_control_route_names_an_id_and_nothing_else(
    caplog, monkeypatch, gateway, http
):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("serve.feedback.parse_feedback", fail)
    comment = {"request_id": "req-1", "kind": "comment", "text": CANARY}
    status, body = await ask(http, gateway, FEEDBACK, comment, "/v1/feedback")
    assert status == 500
    error = json.loads(body)["error"]
    assert error["code"] == "internal_error"
    assert "secret" not in error["message"]
    assert error["message"].rpartition(" ")[2] in caplog.text
    assert CANARY not in caplog.text
