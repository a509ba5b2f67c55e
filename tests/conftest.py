"""Fixtures that several rooms share: a tiny published checkpoint, a home, the data folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("RAGAS_DO_NOT_TRACK", "true")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HALLMARK_TRACK", "off")

from registry.checkpoint import Lineage, publish
from registry.home import Home
from registry.records import digest_of
from registry.verdict import Finding, Status, Verdict
from tests import serving
from tests.ledgers import ledger, postgres, url
from tests.serving import RunningServer

__all__ = ["ledger", "postgres", "url"]  # fixtures

ROOT = Path(__file__).resolve().parent.parent

PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "postgres": "postgresql",
    "chromium": "chromium",
    "redis-server": "redis-server",
}

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data beside the checkout."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the public data sets in ../shared/data")
    return folder


@pytest.fixture(scope="session")
def needs_program() -> Callable[[str], str]:
    """The path of a Debian program, or a skip that says how to install it."""

    def find(name: str) -> str:
        found = shutil.which(name)
        if found is None and name == "postgres":
            versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
            found = str(versions[-1]) if versions else None
        if found is None:
            pytest.skip(f"needs {name}: apt-get install {PACKAGES.get(name, name)}")
        return found

    return find


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.at(tmp_path / "home")


def write_tiny_model(folder: Path, *, seed: int = 0) -> None:
    """A random Qwen3 of about 0.2M parameters with a byte-level tokenizer of its own."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(special + alphabet)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(vocabulary),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=vocabulary["<|im_end|>"],
        pad_token_id=vocabulary["<|endoftext|>"],
    )
    model = Qwen3ForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="session")
def make_tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Publishes a tiny random checkpoint: ``make_tiny_checkpoint(name, seed=...)``."""

    def make(name: str = "tiny", *, seed: int = 0) -> Path:
        root = tmp_path_factory.mktemp("checkpoints")
        staging = root / "staging"
        staging.mkdir()
        write_tiny_model(staging, seed=seed)
        publish(staging, root / name, Lineage(name=name, stage="import", seed=seed))
        return root / name

    return make


@pytest.fixture(scope="session")
def tiny_checkpoint(make_tiny_checkpoint: Callable[..., Path]) -> Path:
    return make_tiny_checkpoint("tiny", seed=0)


def make_verdict(candidate_digest: str, status: Status = Status.PASS) -> Verdict:
    """A verdict of one required entry, as the gate would write it."""
    from registry.evidence import now

    finding = Finding(
        entry="held_out_bits",
        check="bits_per_byte",
        tier="required",
        status=status,
        reason="made by a test",
        unit="bits/byte",
        higher_is_better=False,
        n=100,
        unscored=0,
        candidate=2.0,
        limit=9.0,
    )
    return Verdict(
        status=status,
        candidate_digest=candidate_digest,
        baseline_digest=None,
        against="none",
        policy_name="test-policy",
        policy_digest=digest_of({"policy": "test"}),
        evidence_digests={"held_out_bits": digest_of({"evidence": "test"})},
        findings=(finding,),
        created_at=now(),
    )


@pytest.fixture
def passing_verdict() -> Callable[[str], Verdict]:
    """``passing_verdict(weights_digest)``: a PASS under the policy named test-policy."""
    return make_verdict


@pytest.fixture
def hallmarked_checkpoint(tiny_checkpoint: Path, tmp_path: Path, home: Home) -> Path:
    """A copy of the tiny checkpoint with a hallmark that ``home`` trusts."""
    return hallmark_copy(tiny_checkpoint, tmp_path / "hallmarked", home)


def hallmark_copy(source: Path, destination: Path, home: Home) -> Path:
    from registry.checkpoint import read_manifest
    from registry.ledger import Ledger
    from registry.signing import seal, write_hallmark
    from registry.trust import local_key, trust_policy

    shutil.copytree(source, destination)
    manifest = read_manifest(destination)
    verdict = make_verdict(manifest.weights_digest)
    trust_policy(home, verdict.policy_digest, verdict.policy_name)
    write_hallmark(destination, seal(verdict, manifest, local_key(home)))
    ledger = Ledger(home.ledger_url)
    ledger.record_checkpoint(manifest, str(destination))
    ledger.close()
    return destination


@pytest.fixture(scope="session")
def two_hallmarked_checkpoints(
    make_tiny_checkpoint: Callable[..., Path],
) -> Callable[[Home], dict[str, Path]]:
    """``two_hallmarked_checkpoints(home)``: variants a and b, different weights, both stamped."""

    def make(home: Home) -> dict[str, Path]:
        return {
            name: hallmark_copy(
                make_tiny_checkpoint(f"tiny-{name}", seed=seed),
                home.checkpoints / f"tiny-{name}",
                home,
            )
            for name, seed in (("a", 1), ("b", 2))
        }

    return make


@pytest.fixture(scope="session")
def start_gateway() -> Callable[..., AbstractContextManager[RunningServer]]:
    """``with start_gateway(home, {"a": folder}) as server``: `hallmark serve` with real vLLM."""
    return serving.start_gateway


@pytest.fixture(scope="session")
def running_server(
    two_hallmarked_checkpoints: Callable[[Home], dict[str, Path]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningServer]:
    """One gateway with two real engines for all tests that only ask it things."""
    home = Home.at(tmp_path_factory.mktemp("served") / "home")
    variants = two_hallmarked_checkpoints(home)
    tools = {"HALLMARK_ENGINE_EXTRA_ARGS": "--enable-auto-tool-choice,--tool-call-parser,hermes"}
    with serving.start_gateway(home, variants, api_key="key-of-the-tests", environ=tools) as server:
        yield server
