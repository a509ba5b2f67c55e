"""Signed links: one request, until a second, by nobody else's key."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from registry.home import Home
from serve.links import SIGNED, LinkError, Links
from tests.serving_fake import Bench, bench

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY = bytes(range(32))


def test_a_link_opens_its_request_until_the_second_in_which_it_ends() -> None:
    links = Links(KEY)
    token = links.token("req-1", NOON)
    opened = links.open(token, now=NOON - timedelta(microseconds=1))
    assert (opened.request_id, opened.expires_at) == ("req-1", NOON)
    with pytest.raises(LinkError, match="ended at 2026-03-01 12:00 UTC"):
        links.open(token, now=NOON)


def test_the_signature_is_hmac_sha256_over_what_the_link_says() -> None:
    # RFC 2104: H(K xor opad, H(K xor ipad, text)), the key padded to SHA-256's 64 bytes.
    payload, signature = Links(KEY).token("req-1", NOON).split(".")
    text = base64.urlsafe_b64decode(payload + "==")
    assert json.loads(text) == {"e": 1772366400, "r": "req-1"}
    padded = KEY + bytes(32)
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in padded) + SIGNED + text).digest()
    outer = hashlib.sha256(bytes(b ^ 0x5C for b in padded) + inner).digest()
    assert base64.urlsafe_b64decode(signature + "=") == outer


def test_a_changed_link_and_one_of_another_key_open_nothing() -> None:
    token = Links(KEY).token("req-1", NOON)
    payload, signature = token.split(".")
    longer = base64.urlsafe_b64encode(b'{"e":9772366400,"r":"req-1"}').decode().rstrip("=")
    wrong = [f"{longer}.{signature}", payload, f"{payload}.", "", ".", "x.y", "é.é", token[:-2]]
    for one in wrong:
        with pytest.raises(LinkError):
            Links(KEY).open(one, now=NOON - timedelta(hours=1))
    with pytest.raises(LinkError, match="changed, or its key is no longer in use"):
        Links(KEY[::-1]).open(token, now=NOON - timedelta(hours=1))


def test_a_short_key_signs_nothing() -> None:
    with pytest.raises(LinkError, match="at least 32 bytes, not 31"):
        Links(KEY[:31])


def test_the_key_is_made_once_for_its_owner_alone_and_removing_it_ends_all_links(
    tmp_path: Path,
) -> None:
    keys = tmp_path / "keys"
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: Links.of_folder(keys), range(16)))
    tokens = {links.token("r", NOON) for links in made}
    assert len(tokens) == 1
    path = keys / "links.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in keys.iterdir()] == ["links.key"]
    path.unlink()
    with pytest.raises(LinkError, match="its key is no longer in use"):
        Links.of_folder(keys).open(tokens.pop(), now=NOON - timedelta(hours=1))
    path.write_text("nonsense")
    with pytest.raises(LinkError, match="holds no key in hex digits"):
        Links.of_folder(keys)


@pytest.fixture
async def gateway(home: Home) -> AsyncIterator[Bench]:
    async with bench(home=home.root, api_keys=("secret",)) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def say(
    http: aiohttp.ClientSession, gateway: Bench, link: str, **body: Any
) -> tuple[int, dict[str, Any]]:
    headers = {"x-hallmark-link": link}
    async with http.post(gateway.root + "/v1/feedback", json=body, headers=headers) as answer:
        return answer.status, await answer.json()


def token(home: Home, request_id: str = "req-1", hours: float = 1) -> str:
    ends = datetime.now(UTC) + timedelta(hours=hours)
    return Links.of_folder(home.keys).token(request_id, ends)


async def test_a_link_needs_no_key_and_learns_nothing_of_who_answered(gateway, http, home):
    status, answer = await say(http, gateway, token(home), metric="thumb", value=-1)
    assert (status, answer.keys()) == (201, {"object", "feedback_id", "recorded"})
    [kept] = gateway.ledger.feedback.values()
    assert (kept.request_id, kept.source, kept.value) == ("req-1", "link", -1)


async def test_a_link_says_one_thing_of_each_metric(gateway, http, home):
    link = token(home)
    assert (await say(http, gateway, link, metric="comment", text="late"))[0] == 201
    assert (await say(http, gateway, link, metric="comment", text="late"))[0] == 200
    status, answer = await say(http, gateway, link, metric="comment", text="flood")
    assert (status, answer["error"]["code"]) == (409, "already_given")
    assert (await say(http, gateway, link, metric="edit", text="Monday."))[0] == 201
    assert sorted(one.text or "" for one in gateway.ledger.feedback.values()) == ["Monday.", "late"]


async def test_a_link_speaks_of_no_other_answer_and_compares_none(gateway, http, home):
    link = token(home)
    for body in (
        {"metric": "thumb", "value": 1, "request_id": "req-2"},
        {"metric": "vote", "ranking": ["req-1", "req-2"]},
    ):
        status, answer = await say(http, gateway, link, **body)
        assert (status, answer["error"]["code"]) == (403, "wrong_link")
    assert gateway.ledger.feedback == {}


async def test_a_link_that_ended_is_401_and_opens_no_other_route(gateway, http, home):
    status, answer = await say(http, gateway, token(home, hours=-1), metric="thumb", value=1)
    assert (status, answer["error"]["code"]) == (401, "invalid_link")
    headers = {"x-hallmark-link": token(home)}
    for path in ("/v1/models", "/v1/feedback/metrics", "/v1/arena/board", "/v1/labelling/next"):
        async with http.get(gateway.root + path, headers=headers) as refused:
            assert refused.status == 401


async def test_without_link_or_key_nothing_is_taken(gateway, http):
    body = {"request_id": "r", "kind": "thumb", "value": 1}
    async with http.post(gateway.root + "/v1/feedback", json=body) as answer:
        assert answer.status == 401
    assert gateway.ledger.feedback == {}
