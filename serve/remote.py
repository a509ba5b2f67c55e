"""An engine on another machine, and how it proves that it was admitted there.

`hallmark engine` admits a checkpoint on its own machine and answers here over HTTP. At every
start, and again and again while it runs, the gateway sends it a fresh nonce; it answers with
a DSSE envelope over the nonce and the weights digest that it loaded, signed with its home's
key. The gateway must trust that key (`hallmark trust key`). A bare vLLM server has no such
answer, and is refused.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import ValidationError

from registry.records import Record, UserError, canonical_json
from registry.signing import SigningKey, make_envelope
from serve import keeper
from serve.admission import AdmissionError
from serve.engine_client import Connection, UpstreamFailure
from serve.keeper import Engine, EngineError, Keeper, Seat
from serve.settings import ServeSettings, VariantPlan
from serve.upstream import Upstream

PROOF_PATH = "/hallmark"
NONCE_BYTES = 16
PROOF_TIMEOUT_SECONDS = 10.0
MAX_MISSED_PROOFS = 2


class AddressError(UserError):
    """That is no address of an engine."""


class Proof(Record):
    """What an engine says of itself to one nonce."""

    kind: Literal["hallmark-engine/v1"] = "hallmark-engine/v1"
    nonce: str
    weights_digest: str
    envelope_digest: str
    """The hallmark that admitted it there."""
    model: str
    """The name under which it answers."""


def sign_proof(proof: Proof, key: SigningKey) -> dict[str, Any]:
    return make_envelope(canonical_json(proof), key)


def read_proof(payload: bytes, *, nonce: str, weights_digest: str, address: str) -> Proof:
    """Raises AdmissionError unless it answers this nonce and is of these weights."""
    try:
        proof = Proof.model_validate_json(payload)
    except ValidationError as error:
        raise _refused(address, "what it signed is no proof of an engine") from error
    if proof.nonce != nonce:
        raise _refused(address, "its proof answers another nonce than ours: it may be replayed")
    if proof.weights_digest != weights_digest:
        raise _refused(
            address, f"it holds {proof.weights_digest}, and {weights_digest} was asked for"
        )
    return proof


def _refused(address: str, why: str) -> AdmissionError:
    return AdmissionError(
        f"the engine at {address} is refused: {why}; start it there with "
        "`hallmark engine CHECKPOINT`, and trust its home's key with `hallmark trust key`"
    )


class RemoteUpstream(Upstream):
    """An engine behind an address instead of a socket."""

    address: str
    _host: str
    _port: int

    @classmethod
    def at(cls, address: str, settings: ServeSettings, name: str, digest: str) -> RemoteUpstream:
        key = settings.engine.key
        secret = "" if key is None else key.get_secret_value()
        made = cls(
            name,
            digest,
            Path("/nonexistent"),
            max_in_flight=settings.max_in_flight,
            silence_seconds=settings.request_timeout_seconds,
            answer_seconds=settings.answer_timeout_seconds,
            headers={"Authorization": f"Bearer {secret}"} if secret else None,
        )
        made.address = address
        made._host, made._port = host_and_port(address)
        return made

    async def _connect(self, made: Callable[[], Connection]) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(made, self._host, self._port)
        return connection


def host_and_port(address: str) -> tuple[str, int]:
    """Raises AddressError for anything but ``http://HOST:PORT``."""
    try:
        url = urlsplit(address)
        host, port = url.hostname, url.port
    except ValueError:
        host = port = None
    if not host or not port or url.scheme != "http" or url.path.strip("/") or "@" in url.netloc:
        raise AddressError(
            f"{address!r} is no engine's address; write http://HOST:PORT, as `hallmark engine` "
            "said it (for TLS put a tunnel between the two)"
        )
    return host, port


class RemoteEngine:
    """Runs elsewhere: it ends for us once it no longer proves itself."""

    pid = 0
    running = True

    def __init__(self, upstream: RemoteUpstream, keeper: RemoteKeeper) -> None:
        self._upstream = upstream
        self._keeper = keeper

    async def wait(self) -> int:
        missed = 0
        while missed < MAX_MISSED_PROOFS:
            await asyncio.sleep(keeper.WATCH_SECONDS)
            try:
                await self._keeper.proof_of(self._upstream)
                missed = 0
            except EngineError:
                missed += 1
            except AdmissionError:
                break
        return 1

    async def stop(self, timeout_seconds: float) -> None:
        """It is not ours to stop."""

    def log_tail(self) -> str:
        return ""


class RemoteKeeper(Keeper):
    """Keeps one address in use while what answers there proves that it was admitted."""

    takes_turns = False

    async def _run(self, seats: Sequence[Seat]) -> Engine:
        [seat] = seats
        upstream = seat.upstream
        assert isinstance(upstream, RemoteUpstream)
        deadline = time.monotonic() + self._tools.settings.engine.start_timeout_seconds
        while True:
            try:
                proof = await self.proof_of(upstream)
            except EngineError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(keeper.PROBE_PAUSE_SECONDS)
                continue
            upstream.model = proof.model
            return RemoteEngine(upstream, self)

    def _check_loaded(self, plan: VariantPlan) -> None:
        """It was loaded elsewhere, and proves there what it is."""

    def _listens(self, upstream: Upstream) -> bool:
        return True

    async def proof_of(self, upstream: RemoteUpstream) -> Proof:
        """Raises EngineError where nobody answers, AdmissionError where the answer is no proof."""
        nonce = secrets.token_hex(NONCE_BYTES)
        address = upstream.address
        try:
            async with asyncio.timeout(PROOF_TIMEOUT_SECONDS):
                status, _, body = await upstream.get(f"{PROOF_PATH}?nonce={nonce}")
        except (UpstreamFailure, TimeoutError, OSError) as error:
            raise EngineError(
                f"no engine answers at {address}; is `hallmark engine` running there?"
            ) from error
        if status == 401:
            raise _refused(address, "it wants another key; set HALLMARK_ENGINE_KEY to its key")
        if status == 503:
            raise EngineError(f"the engine at {address} is not ready yet")
        try:
            envelope: Mapping[str, Any] | None = json.loads(body) if status == 200 else None
        except ValueError:
            envelope = None
        if not isinstance(envelope, dict):
            raise _refused(address, "it gives no proof that it was admitted")
        payload = await asyncio.to_thread(self._tools.admission.opened, envelope, address)
        proof = read_proof(
            payload, nonce=nonce, weights_digest=upstream.checkpoint, address=address
        )
        await asyncio.to_thread(self._tools.admission.not_revoked, proof.envelope_digest, address)
        return proof
