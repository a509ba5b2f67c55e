"""What vLLM 0.32 does that a gateway must not hand on: each against the real thing.

The numbers are those of the design; 1 is in test_serve_engines_real, for it ends an engine.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from commands.switch import measure_golden
from registry.checkpoint import read_manifest
from registry.home import Home
from serve.golden import tail_logprob
from tests.conftest import hallmark_copy
from tests.serving import RunningServer
from tests.test_serve_engines_adapters import make_adapter

pytestmark = pytest.mark.engine


def engine_sockets(server: RunningServer) -> dict[str, str]:
    """Where each variant's engine listens, found by the process group of its leash."""
    listed = subprocess.run(
        ["ps", "-eo", "pgid=,args=", "-ww"], capture_output=True, text=True, check=True
    ).stdout
    found = {}
    for line in listed.splitlines():
        words = line.split()
        if "--uds" in words:
            found[words[0]] = words[words.index("--uds") + 1]
    return {row["variant"]: found[str(row["pid"])] for row in variants(server)}


def variants(server: RunningServer) -> list[dict[str, Any]]:
    with call(server, "/admin/variants") as answer:
        rows: list[dict[str, Any]] = json.load(answer)["variants"]
        return rows


def call(server: RunningServer, path: str, body: dict[str, Any] | None = None) -> Any:
    request = urllib.request.Request(
        server.root + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {server.api_key}", "Content-Type": "application/json"},
    )
    return urllib.request.urlopen(request, timeout=120)


def direct(path: str, method: str, url: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """Past the gateway, at the engine's own socket: status and JSON, None where it is none."""
    connection = http.client.HTTPConnection("engine", timeout=60)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(path)
    headers = {"Content-Type": "application/json"}
    connection.request(method, url, None if body is None else json.dumps(body), headers)
    response = connection.getresponse()
    data = response.read()
    connection.close()
    try:
        return response.status, json.loads(data)
    except ValueError:
        return response.status, None


@pytest.fixture(scope="module")
def narrow(
    start_gateway: Callable[..., Any], tiny_checkpoint: Path, tmp_path_factory: Any
) -> Iterator[RunningServer]:
    """One engine for a base and two adapters, that works on one sequence and queues one."""
    root = tmp_path_factory.mktemp("narrow")
    home = Home.at(root / "home")
    folders = {"base": hallmark_copy(tiny_checkpoint, root / "base", home)}
    for seed, name in enumerate("xy", start=1):
        folders[name] = make_adapter(root / name, read_manifest(folders["base"]), home, seed=seed)
    environ = {
        "HALLMARK_ENGINE_MAX_NUM_SEQS": "1",
        "HALLMARK_ENGINE_EXTRA_ARGS": "--max-num-queued-reqs,1",
    }
    with start_gateway(home, folders, environ=environ) as server:
        yield server


def body(model: str = "support", **more: Any) -> dict[str, Any]:
    return {
        "model": model, "prompt": "Where is my order?", "max_tokens": 4, "temperature": 0, **more
    }  # fmt: skip


def test_4_two_adapters_and_their_base_have_one_fingerprint_and_three_digests_of_ours(
    narrow: RunningServer,
):
    said, digests, fingerprints = {}, {}, set()
    for name in narrow.checkpoints:
        with call(narrow, "/v1/completions", body(f"support@{name}", logprobs=1)) as answer:
            digests[name] = answer.headers["x-hallmark-checkpoint"]
            whole = json.load(answer)
        said[name] = whole["choices"][0]["logprobs"]["token_logprobs"][0]
        fingerprints.add(whole["system_fingerprint"])
    assert digests == dict(narrow.checkpoints)
    assert len(set(said.values())) == len(set(digests.values())) == 3
    assert len(fingerprints) == 1
    assert len({row["pid"] for row in variants(narrow)}) == 1


def test_the_gate_measures_an_adapter_as_vllm_says_it(narrow: RunningServer):
    """Log-probabilities of base and adapter, added up by the gate, beside vLLM's own LoRA."""
    folders = narrow.home.root.parent
    for name, base in (("base", None), ("x", folders / "base")):
        golden = measure_golden(folders / name, base)
        for text in golden.texts:
            asked = body(f"support@{name}", prompt=text.context + text.continuation,
                         max_tokens=1, echo=True, logprobs=1)  # fmt: skip
            with call(narrow, "/v1/completions", asked) as answer:
                said, num_tokens = tail_logprob(json.load(answer), len(text.continuation))
            assert num_tokens == text.num_tokens
            assert said == pytest.approx(text.logprob, abs=golden.tolerance * num_tokens)


def test_2_a_queue_that_is_full_inside_the_engine_is_an_honest_status(narrow: RunningServer):
    def one(_: int) -> tuple[int, str | None, bytes]:
        asked = body("support@base", max_tokens=200, ignore_eos=True, stream=True)
        try:
            with call(narrow, "/v1/completions", asked) as answer:
                return answer.status, None, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers["Retry-After"], error.read()

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(one, range(12)))
    refused = [one for one in answers if one[0] != 200]
    assert refused  # the burst was larger than the engine's queue
    assert all(status in (429, 503) and after for status, after, _ in refused)
    assert all(b'"error"' not in text for status, _, text in answers if status == 200)


def test_3_and_6_weights_are_not_swapped_in_place_and_no_development_route_is_there(
    running_server: RunningServer,
):
    for path in engine_sockets(running_server).values():
        for route in ("/collective_rpc", "/reset_prefix_cache", "/sleep", "/v1/load_lora_adapter"):
            status, _ = direct(path, "POST", route, {"method": "reload_weights"})
            assert status in (404, 405), route


def test_5_a_client_that_leaves_is_counted_by_us_and_frees_its_slot_within_a_second(
    running_server: RunningServer, eventually: Callable[..., Any]
):
    def value(name: str) -> float:
        with call(running_server, "/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    before = value('hallmark_requests_total{route="completions",status="499"')
    asked = body("support@a", max_tokens=900, ignore_eos=True, stream=True)
    answer = call(running_server, "/v1/completions", asked)
    answer.read(10)
    answer.close()
    eventually(lambda: value('hallmark_in_flight_requests{variant="a"}') == 0, 1.0)
    assert value('hallmark_requests_total{route="completions",status="499"') == before + 1


@pytest.fixture
def eventually() -> Callable[..., Any]:
    def wait(holds: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, "it did not come about"
            time.sleep(0.05)

    return wait
