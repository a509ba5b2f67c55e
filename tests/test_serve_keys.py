"""API keys: made once, kept as digests, checked in constant time, revoked for good."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from datetime import UTC, datetime

import pytest

import hallmark
from registry.api_keys import ApiKey, ApiKeyError, key_digest
from registry.ledger import Ledger
from serve import keys as keys_module
from serve.errors import ApiError
from serve.keys import ANYBODY, KeyRing, new_key, refuse_strangers, scope_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def made(name: str = "web", *scopes: str, **limits: int) -> tuple[str, ApiKey]:
    return new_key(name, scopes or ("chat",), now=NOON, **limits)  # type: ignore[arg-type]  # str


def bearer(token: str) -> bytes:
    return f"Bearer {token}".encode()


def refusal(ring: KeyRing, authorization: bytes | None, scope: str = "chat") -> ApiError:
    with pytest.raises(ApiError) as caught:
        ring.check(authorization, scope)  # type: ignore[arg-type]  # str
    return caught.value


def test_a_key_is_256_random_bits_behind_an_id_and_kept_as_its_sha256():
    token, key = made()
    assert re.fullmatch(r"hm_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", token)  # 43 x 6 bits >= 256
    assert key.digest == "sha256:" + hashlib.sha256(token.encode()).hexdigest()
    assert token.startswith(key.prefix)
    assert token not in key.model_dump_json()
    assert made()[0] != token


def test_without_any_key_everybody_may_ask():
    assert KeyRing((), list).check(None, "admin") is ANYBODY


def test_a_key_opens_what_its_scopes_say_and_nothing_else():
    token, key = made("web", "chat", "feedback")
    ring = KeyRing((), lambda: [key])
    assert ring.check(bearer(token), "chat") == key
    assert ring.check(b"bearer  " + token.encode() + b" ", "feedback") == key
    error = refusal(ring, bearer(token), "admin")
    assert (error.status, error.code) == (403, "missing_scope")
    assert "--scope admin" in error.message


def test_no_key_a_wrong_one_and_a_revoked_one_read_the_same():
    token, key = made()
    gone_token, gone = made("gone")
    ring = KeyRing((), lambda: [key, gone.model_copy(update={"revoked_at": NOON})])
    said = {
        refusal(ring, value).body
        for value in (
            None, b"", b"Bearer", bearer("x"), bearer(token[:-1]), bearer(gone_token),
            b"Basic " + token.encode(), token.encode(), bearer(key.digest),
        )
    }  # fmt: skip
    assert len(said) == 1
    assert b"invalid_api_key" in said.pop()


def test_revoking_the_last_key_does_not_open_the_door():
    _, key = made()
    ring = KeyRing((), lambda: [key.model_copy(update={"revoked_at": NOON})])
    assert refusal(ring, None).status == 401


def test_keys_of_the_environment_have_every_scope_and_no_limit():
    ring = KeyRing(["open-sesame"], list)
    key = ring.check(bearer("open-sesame"), "admin")
    assert key.scopes == ("chat", "feedback", "admin")
    assert not key.limited
    assert "open-sesame" not in repr(key)


def test_the_last_comparison_is_of_whole_digests_in_constant_time(monkeypatch):
    token, key = made()
    compared = []
    monkeypatch.setattr(
        keys_module.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or a == b
    )
    KeyRing((), lambda: [key]).check(bearer(token), "chat")
    assert compared == [(key.digest, key_digest(token))]


async def test_a_ring_follows_the_ledger_and_keeps_what_it_knew_while_that_is_away(monkeypatch):
    monkeypatch.setattr(keys_module, "REFRESH_SECONDS", 0.01)
    token, key = made()
    stored: list[ApiKey] = [key]
    broken = False

    def load() -> list[ApiKey]:
        if broken:
            raise OSError("disk")
        return list(stored)

    ring = KeyRing((), load)
    following = asyncio.create_task(ring.follow())
    broken = True
    stored[0] = key.model_copy(update={"revoked_at": NOON})
    await asyncio.sleep(0.1)
    assert ring.check(bearer(token), "chat") == key
    broken = False
    for _ in range(200):
        await asyncio.sleep(0.01)
        try:
            ring.check(bearer(token), "chat")
        except ApiError:
            break
    assert refusal(ring, bearer(token)).status == 401
    following.cancel()


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("/v1/chat/completions", "chat"),
        ("/v1/models", "chat"),
        ("/v1/feedback", "feedback"),
        ("/v1/feedback/metrics", "feedback"),
        ("/v1/feedbacks", "chat"),
        ("/metrics", "admin"),
        ("/metrics/engines/a", "admin"),
        ("/admin", "admin"),
        ("/admin/variants", "admin"),
    ],
)
def test_each_route_wants_one_scope(path, scope):
    assert scope_of(path) == scope


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "127.8.8.8", None])
def test_without_keys_admin_routes_answer_this_machine(host):
    refuse_strangers("/admin/variants", host)


@pytest.mark.parametrize("host", ["10.0.0.1", "2001:db8::1", "example.org"])
def test_without_keys_admin_routes_refuse_other_machines(host):
    with pytest.raises(ApiError, match="hallmark keys create"):
        refuse_strangers("/admin/variants", host)
    refuse_strangers("/v1/models", host)


def test_the_ledger_keeps_keys_and_their_end(ledger: Ledger):
    _, key = made("web", "chat", "admin", requests_per_minute=10, max_concurrent=2)
    ledger.record_api_key(key)
    assert ledger.api_keys() == [key]
    with pytest.raises(ApiKeyError, match="a key named 'web' is in use"):
        ledger.record_api_key(made("web")[1])
    assert ledger.revoke_api_key("web", NOON).revoked_at == NOON
    assert ledger.api_keys() == [key.model_copy(update={"revoked_at": NOON})]
    with pytest.raises(ApiKeyError, match="no key named 'web'; have none"):
        ledger.revoke_api_key("web", NOON)
    _, second = made("web")
    ledger.record_api_key(second)
    assert ledger.revoke_api_key(second.prefix, NOON).key_id == second.key_id


def run(capsys: pytest.CaptureFixture[str], home: object, *arguments: str) -> tuple[int, str, str]:
    code = hallmark.main(["--home", str(home), "keys", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_command_shows_a_key_once_and_keeps_only_its_digest(capsys, tmp_path):
    code, token, said = run(capsys, tmp_path, "create", "web", "--requests-per-minute", "60")
    token = token.strip()
    assert code == 0
    assert re.fullmatch(r"hm_[0-9a-f]{12}_\S{43}", token)
    assert "not shown again" in said
    assert token not in said
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or token.encode() not in file.read_bytes()
    code, listed, _ = run(capsys, tmp_path, "list", "--json")
    [row] = json.loads(listed)
    assert (row["name"], row["scopes"]) == ("web", ["chat", "feedback"])
    assert (row["requests_per_minute"], row["revoked_at"]) == (60, None)
    assert token not in listed
    assert "digest" not in row
    assert run(capsys, tmp_path, "revoke", row["prefix"])[0] == 0
    code, _, said = run(capsys, tmp_path, "list")
    assert "revoked" in said


def test_the_command_refuses_what_makes_no_sense(capsys, tmp_path):
    code, out, said = run(capsys, tmp_path, "create", "web", "--scope", "root")
    assert (code, out) == (4, "")
    assert "no scope named 'root'; have admin, chat, feedback" in said
    assert run(capsys, tmp_path, "create", "web", "--max-concurrent", "0")[0] == 4
    assert run(capsys, tmp_path, "create", "web", "--scope", "admin")[0] == 0
    code, out, said = run(capsys, tmp_path, "create", "web")
    assert (code, out) == (4, "")
    assert "in use" in said
    assert run(capsys, tmp_path, "revoke", "other")[0] == 4
