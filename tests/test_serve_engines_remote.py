"""An engine on another machine is let in by what it proves, and by nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from commands.serve import Options, VariantError, variant_plan
from commands.session import Session
from registry.checkpoint import read_manifest
from registry.home import Home
from registry.signing import SigningKey, envelope_digest, open_envelope, read_hallmark
from registry.trust import load_trust, trust_key
from serve.admission import Admission, AdmissionError
from serve.engine_server import EngineServer, EngineServerError, serve_engine
from serve.keeper import EngineError, Seat, Tools
from serve.remote import AddressError, RemoteKeeper, RemoteUpstream, host_and_port, read_proof
from serve.settings import EngineOptions, ServeSettings, ServingPlan, VariantPlan
from serve.upstream import Upstream
from tests.serving import ROOT, free_port
from tests.serving_engine import ENGINE, gateway, rig
from tests.serving_process import server_process

DIGEST = "sha256:" + "a" * 64
HALLMARK = "sha256:" + "e" * 64
BODY = {"model": "support", "prompt": "hi", "max_tokens": 1}


def settings(home: Path, *, key: str | None = None, port: int = 1) -> ServeSettings:
    engines = (f"http://127.0.0.1:{port}",)
    plan = VariantPlan(name="a", checkpoint=home / "a", engines=engines)
    return ServeSettings.model_validate(
        {
            "plan": ServingPlan(model_name="support", variants=(plan,)),
            "home": home,
            "engine": EngineOptions.model_validate({"key": key} if key else {}),
        }
    )


@dataclass
class Elsewhere:
    """`hallmark engine` over a stand-in for vLLM, and what a gateway here has for it."""

    server: EngineServer
    port: int
    home: Home
    revoked: set[str] = field(default_factory=set)

    def keeper(self, *, key: str | None = None, digest: str = DIGEST) -> RemoteKeeper:
        made = settings(self.home.root, key=key, port=self.port)
        admission = Admission(self.home, lambda: self.revoked)
        tools = Tools(
            made, admission, {}, True, asyncio.Semaphore(1),
            changed=lambda upstream, fresh: None, restarted=lambda variant: None,
        )  # fmt: skip
        upstream = RemoteUpstream.at(made.plan.variants[0].engines[0], made, "a", digest)
        plan = made.plan.variants[0]
        first: Any = SimpleNamespace(manifest=SimpleNamespace(weights_digest=digest))
        # What is here is not in question: only what is elsewhere.
        admission.admit = lambda *_: first  # type: ignore[method-assign]
        return RemoteKeeper("a", [Seat(plan, upstream)], tools, cores=(), admitted={"a": first})

    async def proof(self, **more: Any) -> Any:
        keeper = self.keeper(**more)
        upstream = keeper.seats[0].upstream
        assert isinstance(upstream, RemoteUpstream)
        try:
            return await keeper.proof_of(upstream)
        finally:
            upstream.close()


@contextlib.asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[int]:
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, key: str = "", trusted: bool = True
) -> AsyncIterator[Elsewhere]:
    """A process on a socket, relayed by an EngineServer on a port."""
    home = Home.at(tmp_path / "here")
    signer = SigningKey.generate(tmp_path / "there.pem")
    if trusted:
        trust_key(home, signer.public_pem, "there")
    async with rig(monkeypatch, tmp_path / "there") as made:
        await made.up()
        upstream: Upstream = made.a
        upstream.checkpoint = DIGEST
        admitted: Any = SimpleNamespace(envelope_digest=HALLMARK)
        server = EngineServer(upstream, admitted, signer, model="theirs", key=key)
        async with served(server.application()) as port:
            yield Elsewhere(server, port, home)


async def test_an_engine_that_answers_our_nonce_with_a_trusted_key_is_let_in(monkeypatch, tmp_path):
    async with elsewhere(monkeypatch, tmp_path, key="k") as there:
        proof = await there.proof(key="k")
        assert (proof.weights_digest, proof.envelope_digest) == (DIGEST, HALLMARK)
        assert proof.model == "theirs"


async def test_a_bare_server_is_refused_with_the_command_to_run(monkeypatch, tmp_path):
    async def everything(_: web.Request) -> web.Response:
        return web.json_response({"status": "healthy"})

    app = web.Application()
    app.router.add_get("/health", everything)
    async with served(app) as port:
        there = Elsewhere(None, port, Home.at(tmp_path))  # type: ignore[arg-type]
        with pytest.raises(AdmissionError, match=r"no proof .* `hallmark engine CHECKPOINT`"):
            await there.proof()


async def test_a_signature_by_nobody_we_trust_is_refused(monkeypatch, tmp_path):
    async with elsewhere(monkeypatch, tmp_path, trusted=False) as there:
        with pytest.raises(AdmissionError, match="no trusted key"):
            await there.proof()


async def test_other_weights_than_asked_for_are_refused(monkeypatch, tmp_path):
    async with elsewhere(monkeypatch, tmp_path) as there:
        with pytest.raises(AdmissionError, match="it holds sha256:aaa"):
            await there.proof(digest="sha256:" + "b" * 64)


async def test_a_recorded_proof_does_not_answer_a_new_nonce(monkeypatch, tmp_path):
    async with elsewhere(monkeypatch, tmp_path) as there:
        async with aiohttp.ClientSession() as http:
            url = f"http://127.0.0.1:{there.port}/hallmark?nonce={'0' * 32}"
            async with http.get(url) as answer:
                recorded = await answer.read()

        async def replay(_: web.Request) -> web.Response:
            return web.Response(body=recorded)

        app = web.Application()
        app.router.add_get("/hallmark", replay)
        async with served(app) as port:
            with pytest.raises(AdmissionError, match="another nonce"):
                await Elsewhere(there.server, port, there.home).proof()


async def test_a_revoked_hallmark_ends_an_engine_elsewhere_too(monkeypatch, tmp_path):
    async with elsewhere(monkeypatch, tmp_path) as there:
        await there.proof()
        there.revoked.add(HALLMARK)
        with pytest.raises(AdmissionError, match="revoked"):
            await there.proof()


async def test_nobody_asks_past_the_gateways_without_the_key(monkeypatch, tmp_path):
    async with elsewhere(monkeypatch, tmp_path, key="k") as there:
        async with aiohttp.ClientSession() as http:
            for path in ("/v1/completions", "/v1/chat/completions"):
                url = f"http://127.0.0.1:{there.port}{path}"
                async with http.post(url, json=BODY) as answer:
                    assert answer.status == 401
            async with http.get(f"http://127.0.0.1:{there.port}/metrics") as answer:
                assert answer.status == 401
            async with http.post(f"http://127.0.0.1:{there.port}/tokenize", json=BODY) as answer:
                assert answer.status == 404  # no route of the engine's own
        with pytest.raises(AdmissionError, match="HALLMARK_ENGINE_KEY"):
            await there.proof(key="wrong")


async def test_while_it_drains_it_refuses_new_requests_and_proves_nothing(monkeypatch, tmp_path):
    async with elsewhere(monkeypatch, tmp_path) as there:
        there.server.draining = True
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"http://127.0.0.1:{there.port}/v1/completions", json=BODY) as answer,
        ):
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        with pytest.raises(EngineError, match="not ready"):
            await there.proof()


async def test_a_gateway_answers_with_an_engine_elsewhere(monkeypatch, tmp_path):
    async with elsewhere(monkeypatch, tmp_path / "x") as there:
        plan = VariantPlan(
            name="a",
            checkpoint=tmp_path / ("a" * 64),
            engines=(f"http://127.0.0.1:{there.port}",),
        )
        async with rig(monkeypatch, tmp_path, [ENGINE], [plan], begin=False) as here:
            admission = Admission(there.home, lambda: frozenset())
            real = {"opened": admission.opened, "not_revoked": admission.not_revoked}
            for name, method in real.items():
                setattr(here.door, name, method)
            async with gateway(here) as (root, _), aiohttp.ClientSession() as http:
                await here.up()
                async with http.post(root + "/v1/completions", json=BODY) as answer:
                    assert answer.status == 200
                    assert answer.headers["x-hallmark-checkpoint"] == DIGEST
                body = BODY | {"stream": True, "prompt": "7"}
                async with http.post(root + "/v1/completions", json=body) as answer:
                    assert (await answer.text()).count(" word") == 7
        assert here.starts == []  # nothing was started on this machine


async def test_an_engine_elsewhere_is_waited_for_and_left_once_it_is_revoked(monkeypatch, tmp_path):
    async with elsewhere(monkeypatch, tmp_path) as there:
        there.server.draining = True
        keeper = there.keeper()
        upstream = keeper.seats[0].upstream
        keeper.begin()
        await asyncio.sleep(0.3)
        assert upstream.state == "starting"
        there.server.draining = False
        await asyncio.wait_for(keeper.first, 10)
        assert (upstream.state, upstream.model) == ("up", "theirs")
        there.revoked.add(HALLMARK)  # while it runs: the next proof is refused
        for _ in range(200):
            if upstream.state == "failed":
                break
            await asyncio.sleep(0.05)
        assert "was revoked" in upstream.reason
        await keeper.stop()


def test_hallmark_engine_admits_answers_proves_itself_and_finishes_before_it_ends(
    hallmarked_checkpoint, home
):
    port = free_port()
    with server_process(home.root, hallmarked_checkpoint, port, kind="engine") as there:
        assert there.ask()["choices"]
        with there.send(f"/hallmark?nonce={'5' * 32}") as answer:
            payload, _ = open_envelope(json.load(answer), load_trust(home).keys)
        digest = read_manifest(hallmarked_checkpoint).weights_digest
        proof = read_proof(payload, nonce="5" * 32, weights_digest=digest, address="there")
        assert proof.envelope_digest == envelope_digest(read_hallmark(hallmarked_checkpoint))
        pid = there.engine_pid
        with there.send("/v1/completions", {"model": "m", "prompt": "30", "stream": True}) as live:
            there.gateway.send_signal(signal.SIGTERM)
            text = live.read().decode()
        assert text.count(" word") == 30
        assert text.endswith("data: [DONE]\n\n")
        assert there.gateway.wait(timeout=20) == 0
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.engine
@pytest.mark.slow
def test_a_gateway_answers_with_a_real_engine_elsewhere_and_hears_when_it_ends(
    hallmarked_checkpoint, home, start_gateway
):
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [
        sys.executable, "-m", "hallmark", "--home", str(home.root), "--ledger", home.ledger_url,
        "engine", str(hallmarked_checkpoint), "--port", str(port),
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT) as engine:
        try:
            with start_gateway(
                home, {"a": hallmarked_checkpoint}, options=("--engine", f"a={address}")
            ) as server:
                data = json.dumps(BODY | {"stream": True, "max_tokens": 4}).encode()
                url = server.base_url + "/completions"
                with urllib.request.urlopen(url, data=data, timeout=60) as answer:
                    assert answer.headers["x-hallmark-checkpoint"] == server.checkpoints["a"]
                    assert answer.read().endswith(b"data: [DONE]\n\n")
                with urllib.request.urlopen(server.root + "/metrics/engines/a") as answer:
                    assert b"vllm:num_requests_running" in answer.read()
                engine.send_signal(signal.SIGTERM)
                assert engine.wait(timeout=60) == 0
                with pytest.raises(urllib.error.HTTPError, match="503"):
                    urllib.request.urlopen(url, data=data, timeout=60)
        finally:
            engine.kill()


def test_hallmark_engine_refuses_what_has_no_hallmark(tiny_checkpoint, home):
    outcome = subprocess.run(
        [
            sys.executable, "-m", "hallmark", "--home", str(home.root), "engine",
            str(tiny_checkpoint), "--port", str(free_port()),
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert outcome.returncode == 4
    assert "variant 'engine' is refused" in outcome.stderr
    assert "hallmark gate" in outcome.stderr


@pytest.mark.parametrize(
    "address",
    ["gpu1:8100", "https://gpu1:8100", "http://gpu1", "http://u:p@gpu1:1", "http://a:1/v1"],
)
def test_what_is_no_engines_address_is_told_how_to_write_one(address):
    with pytest.raises(AddressError, match="write http://HOST:PORT"):
        host_and_port(address)
    assert host_and_port("http://gpu1:8100") == ("gpu1", 8100)


def test_a_bare_address_is_no_variant(home):
    session = Session.open(home.root, None)
    for text in ("a=http://gpu1:8000", "a=https://gpu1/v1:0.5"):
        with pytest.raises(VariantError, match=r"--engine a=http://HOST:PORT"):
            variant_plan(session, text)


def test_engines_elsewhere_are_given_by_the_names_of_variants():
    options = Options(engines=("a=http://gpu1:8100", "b=http://gpu2:8100", "a=http://gpu3:8100"))
    assert options.addresses("a") == ("http://gpu1:8100", "http://gpu3:8100")
    with pytest.raises(VariantError, match="NAME=http://HOST:PORT"):
        Options(engines=("gpu1",)).addresses("a")


def test_beyond_this_machine_an_engine_wants_a_key(tmp_path):
    open_to_all = settings(tmp_path).model_copy(update={"host": "0.0.0.0"})
    with pytest.raises(EngineServerError, match="HALLMARK_ENGINE_KEY"):
        serve_engine(open_to_all, {})
