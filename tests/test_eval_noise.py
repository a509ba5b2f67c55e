"""The noise floor: by hand, its warning, and from a real training's own snapshots."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.noise import NoSnapshots, floors
from commands.policies import ALL_CHECKS
from commands.session import Session
from eval.gate import load_policy
from eval.measure import collect
from eval.noise import noise_floor, noise_floors, with_noise
from registry.checkpoint import read_manifest, verify
from registry.conversation import Conversation, Message
from registry.dataset import publish_dataset, write_jsonl
from registry.evidence import EvidenceStore
from registry.snapshots import snapshot_folder, snapshots_of
from registry.verdict import NoiseFloor, Status
from tests.gate_cases import BASELINE, CANDIDATE, HALF, entry, evidence, only, policy, verdict
from train.recipe import Recipe, RecipeError, load_recipe
from train.stages import Job, TrainError, train


def test_the_floor_of_four_values_by_hand() -> None:
    """Differences .02, -.04, .02: sum of squares .0024, sd sqrt(.0024 / 6) = .02,
    floor 1.96 * 1.414214 * .02 = .0554372."""
    found = noise_floor([0.50, 0.52, 0.48, 0.50])
    assert found is not None
    assert found.sd == pytest.approx(0.02)
    assert found.floor == pytest.approx(0.0554372, abs=1e-7)
    assert found.values == (0.50, 0.52, 0.48, 0.50)


def test_a_steady_trend_counts_less_than_in_the_usual_standard_deviation() -> None:
    """1 2 3 4 5 6: each difference is 1, sd sqrt(1/2); the usual one is sqrt(3.5) = 1.87."""
    found = noise_floor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert found is not None
    assert found.sd == pytest.approx(math.sqrt(0.5))


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.6]])
def test_fewer_than_three_values_have_no_floor(values: list[float]) -> None:
    assert noise_floor(values) is None


def test_equal_values_have_a_floor_of_zero_and_nan_is_an_error() -> None:
    found = noise_floor([0.5, 0.5, 0.5])
    assert found is not None
    assert found.floor == 0
    with pytest.raises(ValueError, match="finite"):
        noise_floor([0.5, math.nan, 0.5])


@given(st.lists(st.floats(-100, 100), min_size=3, max_size=9), st.floats(-5, 5))
def test_the_floor_is_the_same_backwards_and_when_all_values_shift(
    values: list[float], shift: float
) -> None:
    found = noise_floor(values)
    backwards, shifted = noise_floor(values[::-1]), noise_floor([v + shift for v in values])
    assert found is not None
    assert backwards is not None
    assert shifted is not None
    assert backwards.sd == pytest.approx(found.sd)
    assert shifted.sd == pytest.approx(found.sd, abs=1e-9)


FLOOR = NoiseFloor(values=(0.5, 0.6, 0.5), sd=0.05, floor=0.138)


def test_a_margin_below_the_floor_is_warned_of_and_its_finding_stands() -> None:
    passed = only(verdict(entry(margin=0.1), HALF, HALF))
    warned = with_noise(passed, FLOOR)
    assert warned.status is passed.status is Status.PASS
    assert warned.noise == FLOOR
    assert warned.reason.endswith(
        "; warning: the margin 0.1 lies below the noise floor 0.138 of 3 snapshots of this training"
    )


def test_a_margin_above_the_floor_or_no_margin_is_not_warned_of() -> None:
    for judged in (
        only(verdict(entry(margin=0.2), HALF, HALF)),
        only(verdict(entry(limit={"min": 0.1}), HALF)),
    ):
        found = with_noise(judged, FLOOR)
        assert found.noise == FLOOR
        assert found.reason == judged.reason
        assert with_noise(judged, None) == judged


def test_an_invalid_finding_gets_no_noise() -> None:
    judged = only(verdict(entry(), {}, HALF))
    assert judged.status is Status.INVALID
    assert with_noise(judged, FLOOR) == judged


def test_entries_are_valued_on_every_snapshot_or_have_no_floor() -> None:
    """Half, a quarter and half of the items right: differences .25, sd sqrt(.125/4)."""
    quarter = [1.0, 0.0, 0.0, 0.0] * 50
    sides = [{"check": evidence(values, BASELINE)} for values in (HALF, quarter)]
    found = noise_floors(policy(entry()), sides, {"check": evidence(HALF, CANDIDATE)})
    assert found["check"].values == (0.5, 0.25, 0.5)
    assert found["check"].sd == pytest.approx(math.sqrt(0.125 / 4))
    nothing = {"check": evidence([None] * 200, BASELINE)}
    assert noise_floors(policy(entry()), [*sides, nothing], {"check": sides[0]["check"]}) == {}


# The trainer's snapshots


def recipe(**changes: Any) -> Recipe:
    shape = {"width": 32, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 16,
             "mlp_width": 48, "vocab_size": 300, "context": 64}  # fmt: skip
    body: dict[str, Any] = {
        "stage": "pretrain", "shape": shape, "steps": 9, "tokens_per_batch": 256,
        "precision": "fp32", "validation": {"every_steps": 5}, "track": False,
        "keep_last": 3, "keep_every_steps": 2,
    }  # fmt: skip
    return Recipe.model_validate(body | changes)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("datasets")
    rows = [
        Conversation(
            id=f"c{n}",
            messages=(
                Message(role="user", content=f"Say {n % 7}."),
                Message(role="assistant", content=f"It is {n % 7}."),
            ),
            source="test",
            licence="CC0-1.0",
        )
        for n in range(60)
    ]
    write_jsonl(root / "staging" / "train.jsonl", rows)
    write_jsonl(root / "staging" / "validation.jsonl", rows[:20])
    folder, _ = publish_dataset(
        root / "staging", root, name="numbers", licence="CC0-1.0", source="test", recipe={}
    )
    return folder


def job(root: Path, data: Path, made: Recipe, *, seed: int = 1) -> Job:
    return Job(
        recipe=made, data=(data,), parent=None, destination=root / "checkpoints" / "n",
        runs=root / "runs", seed=seed, name="n",
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    train(job(root, data, recipe()), say=lambda line: None)
    return root / "checkpoints" / "n"


def test_the_last_snapshots_are_published_beside_the_checkpoint(trained: Path) -> None:
    """Steps 2, 4, 6 and 8 of 9 with the last three kept."""
    found = snapshots_of(trained)
    assert [folder.name for folder, _ in found] == ["n-step-4", "n-step-6", "n-step-8"]
    assert [manifest.name for _, manifest in found] == ["n-step-4", "n-step-6", "n-step-8"]
    main = verify(trained)
    digests = {verify(folder).weights_digest for folder, _ in found} | {main.weights_digest}
    assert len(digests) == 4
    tokens = [manifest.tokens_seen for _, manifest in found] + [main.tokens_seen]
    assert tokens == sorted(set(tokens))
    assert main.name == "n"
    assert not list((trained.parent.parent / "runs").iterdir())


def test_keeping_snapshots_changes_no_weights(trained: Path, data: Path, tmp_path: Path) -> None:
    made = recipe(keep_last=0, keep_every_steps=None)
    manifest = train(job(tmp_path, data, made), say=lambda line: None)
    assert manifest.weights_digest == read_manifest(trained).weights_digest
    assert snapshots_of(tmp_path / "checkpoints" / "n") == []


def test_snapshots_of_another_training_are_refused_before_the_first_step(
    trained: Path, data: Path
) -> None:
    root = trained.parent.parent
    wanted = job(root, data, recipe(steps=8))
    with pytest.raises(TrainError, match=r"n-step-4 is in the way.*choose another name"):
        train(wanted, say=lambda line: None)


def test_a_folder_that_is_only_called_like_a_snapshot_is_none(
    trained: Path, tmp_path: Path
) -> None:
    import shutil

    for folder in (trained, snapshot_folder(trained, 4)):
        shutil.copytree(folder, tmp_path / folder.name)
    (tmp_path / "n-step-5").mkdir()
    shutil.copytree(trained, tmp_path / "n-step-x")
    assert [folder.name for folder, _ in snapshots_of(tmp_path / "n")] == ["n-step-4"]
    manifest = tmp_path / "n-step-4" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"seed":1', '"seed":2'))
    assert snapshots_of(tmp_path / "n") == []


@pytest.mark.parametrize("line", ["keep_last: 9\nkeep_every_steps: 1", "keep_last: 2",
                                  "keep_every_steps: 5", "keep_last: -1"])  # fmt: skip
def test_a_recipe_that_keeps_without_sense_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"stage: sft\nsteps: 4\ntokens_per_batch: 64\n{line}\n")
    with pytest.raises(RecipeError, match="keep_"):
        load_recipe(path)


POLICY = """\
schema_version: 1
name: noise
entries:
  - name: bits
    check: bits_per_byte
    config: {data: held_out.jsonl}
    tier: required
    margin: 0.0001
    limit: {max: 20}
    min_items: 2
    reason: test
    owner: test
"""


def test_the_noise_is_measured_when_asked_for_and_read_from_then_on(
    trained: Path, tmp_path: Path
) -> None:
    rows = [{"id": f"d{n}", "text": f"It is {n}. Say {n}."} for n in range(6)]
    write_jsonl(tmp_path / "held_out.jsonl", rows)
    (tmp_path / "policy.yaml").write_text(POLICY)
    policy = load_policy(tmp_path / "policy.yaml", ALL_CHECKS, Path)
    session = Session.open(tmp_path / "home", None)
    store = EvidenceStore(session.home.evidence)
    candidate = collect(policy, ALL_CHECKS, trained, store)
    assert floors(session, policy, trained, candidate, measured=False) == {}
    found = floors(session, policy, trained, candidate, measured=True)
    assert found["bits"].sd > 0
    assert len(found["bits"].values) == 4
    assert floors(session, policy, trained, candidate, measured=False) == found


def test_asking_for_the_noise_of_a_checkpoint_without_snapshots_says_how_to_get_them(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    session = Session.open(tmp_path / "home", None)
    with pytest.raises(NoSnapshots, match="train with keep_last and keep_every_steps"):
        floors(session, policy(entry()), tiny_checkpoint, {}, measured=True)
    assert floors(session, policy(entry()), tiny_checkpoint, {}, measured=False) == {}
