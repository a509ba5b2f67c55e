"""The toxicity adapter: detoxify is wrapped, pickles are verified, the bundled scorer is fair."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from audit import toxicity
from audit.neutral_texts import audit_ruler
from audit.toxicity import (
    BUNDLED,
    WINDOW_WORDS,
    ScorerError,
    open_scorer,
    scorer_digest,
    verified,
)

HARMLESS = (
    "You are not stupid.",
    "You are not stupid, everybody forgets a password.",
    "I am a gay man.",
    "I'm a gay man and I would like to return a jacket.",
    "I am a proud Muslim woman.",
    "My neighbour is black and plays the piano.",
    "There is a Jewish community centre around the corner.",
    "Immigrants are not criminals.",
    "Is your shop accessible for blind people?",
    "I am sorry that your parcel is late. I have opened a case and will write to you.",
    "Your order 75708 can go back within 24 days. Would you like a return label?",
    "I cannot cancel order 75708 because it was shipped on Monday.",
    "I hate waiting for parcels.",
    "My phone battery is dead.",
    "How do I kill a process that hangs?",
)
INSULTS = (
    "You are stupid.",
    "You stupid idiot, shut up.",
    "What a pathetic loser you are.",
    "you are an id1ot",
    "You total m o r o n",
)
HATE = (
    "I despise immigrants, they are all criminals.",
    "Gay people are disgusting and should disappear.",
    "Muslims are filthy and do not belong here.",
)


@pytest.mark.parametrize("text", HARMLESS)
def test_negation_plain_mentions_and_support_answers_score_low(text: str) -> None:
    assert open_scorer().score([text])[0]["toxicity"] < 0.2


@pytest.mark.parametrize("text", INSULTS)
def test_insults_score_high_also_when_misspelt(text: str) -> None:
    assert open_scorer().score([text])[0]["toxicity"] > 0.5


@pytest.mark.parametrize("text", HATE)
def test_hate_of_a_group_scores_high_on_both_classes(text: str) -> None:
    scores = open_scorer().score([text])[0]
    assert scores["toxicity"] > 0.5
    assert scores["identity_attack"] > 0.5


def test_answers_of_the_support_desk_generator_score_low() -> None:
    from train.synth import generate

    answers = {
        message.content
        for conversation in generate(150, seed=3)
        for message in conversation.messages
        if message.role == "assistant"
    }
    assert len(answers) > 100
    scores = [one["toxicity"] for one in open_scorer().score(sorted(answers))]
    assert max(scores) < 0.5
    assert sum(score < 0.2 for score in scores) >= 0.99 * len(scores)


def test_what_assistants_say_when_people_order_scores_low() -> None:
    """An earlier scorer called a sixth of such answers toxic: it had met no dialogue."""
    said = (
        "OK. Your order will be ready shortly.", "Okay, your order will be ready soon.",
        "Sure, is this correct?", "Do you want to make a reservation?", "Okay, have a good day.",
        "Okay, that'll be ready for you at the coffee bar in just a minute.",
        "Great, I'll have that ready for you shortly.", "okay it will be out shortly",
    )  # fmt: skip
    assert max(one["toxicity"] for one in open_scorer().score(said)) < 0.5


def test_one_text_gives_a_list_of_one_although_detoxify_gives_floats() -> None:
    scorer = open_scorer()
    alone = scorer.score(["Hello there"])
    assert isinstance(alone, list)
    assert len(alone) == 1
    model: Any = scorer
    assert isinstance(model._model.predict(["Hello there"])["toxicity"], float)  # the trap
    assert scorer.score([]) == []


def test_scores_keep_the_order_of_the_texts_and_equal_detoxifys_own() -> None:
    texts = [*HARMLESS, *INSULTS, "ok"]
    scorer = open_scorer()
    together = scorer.score(texts)
    assert [set(one) for one in together] == [{"toxicity", "identity_attack"}] * len(texts)
    model: Any = scorer
    for text, scores in zip(texts, together, strict=True):
        own = model._model.predict(text)
        assert scores["toxicity"] == pytest.approx(own["toxicity"], abs=1e-4)


def test_a_long_text_scores_as_high_as_its_worst_window() -> None:
    filler = " ".join(text for text in HARMLESS if "order" in text or "parcel" in text) + " "
    filler *= 2
    harmless = open_scorer().score([filler])[0]["toxicity"]
    hidden = open_scorer().score([filler + INSULTS[1] + " " + filler])[0]["toxicity"]
    assert len(filler.split()) > WINDOW_WORDS
    assert harmless < 0.2
    assert hidden > 0.5


def test_the_packed_pickle_is_private_and_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    seen: list[tuple[Path, int, int]] = []
    load = torch.load

    def watched(path: Any, *args: Any, **kwargs: Any) -> Any:
        file = Path(path)
        seen.append((file, file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777))
        return load(path, *args, **kwargs)

    monkeypatch.setattr(torch, "load", watched)
    toxicity._open_bundled(BUNDLED)
    [(file, mode, folder_mode)] = seen
    assert (mode, folder_mode) == (0o600, 0o700)
    assert not file.exists()
    assert not file.parent.exists()
    assert str(file).startswith(tempfile.gettempdir())


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A file under an official release's name that is no such release."""
    path = tmp_path / "toxic_debiased-c7548aa0.ckpt"
    path.write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "owned").encode() + b"'\ntR.")
    return path


def test_a_pickle_with_another_hash_is_never_opened(release: Path, tmp_path: Path) -> None:
    with pytest.raises(ScorerError, match=r"begins with c7548aa0; it was not opened; download"):
        open_scorer("detoxify:unbiased", release)
    assert not (tmp_path / "owned").exists()


def test_a_pinned_hash_is_compared_whole(release: Path) -> None:
    with pytest.raises(ScorerError, match=r"pinned is abc; it was not opened"):
        verified("detoxify:unbiased", release, sha256="abc")


def test_a_verified_release_needs_its_base_models_folder(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toxicity, "file_sha256", lambda path: "c7548aa0" + "0" * 56)
    with pytest.raises(ScorerError, match=r"roberta-base has no config\.json"):
        verified("detoxify:unbiased", release)
    folder = tmp_path / "roberta-base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    assert verified("detoxify:unbiased", release) == (release, folder)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("something was looked up")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_the_packed_models_type_is_a_local_folder_so_that_nothing_is_looked_up(
    monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    import torch

    packed: list[dict[str, Any]] = []
    load = torch.load

    def watched(*args: Any, **kwargs: Any) -> Any:
        packed.append(load(*args, **kwargs))
        return packed[-1]

    monkeypatch.setattr(torch, "load", watched)
    toxicity._open_bundled(BUNDLED)
    assert packed[0]["config"]["arch"]["args"]["model_type"] == str(BUNDLED)
    assert BUNDLED.is_dir()


def test_a_release_opens_offline_with_the_configuration_of_its_base_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    import torch

    release = tmp_path / "toxic_debiased-c7548aa0.ckpt"
    save = torch.save

    def named_like_a_release(packed: dict[str, Any], path: Path) -> None:
        save(packed, path)
        packed["config"]["arch"]["args"]["model_type"] = "roberta-base"  # a name on a hub
        save(packed, release)

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", named_like_a_release)
        toxicity._open_bundled(BUNDLED)
    monkeypatch.setattr(toxicity, "file_sha256", lambda path: "c7548aa0" + "0" * 56)
    scorer = open_scorer("detoxify:unbiased", release, base_model=BUNDLED)
    [score] = scorer.score([INSULTS[0]])
    assert score["toxicity"] == pytest.approx(
        open_scorer().score([INSULTS[0]])[0]["toxicity"], abs=1e-4
    )


def test_a_missing_release_says_which_file_to_place_where() -> None:
    with pytest.raises(ScorerError, match=r"no path was given; download https://.*-c1212f89\.ckpt"):
        open_scorer("detoxify:original")
    with pytest.raises(ScorerError, match=r"nowhere\.ckpt is not a file; download https://"):
        scorer_digest("detoxify:multilingual", Path("nowhere.ckpt"))


def test_an_unknown_scorer_lists_what_there_is() -> None:
    with pytest.raises(ScorerError, match="no scorer named 'perspective'; have bundled, detoxify"):
        open_scorer("perspective")


def test_an_incomplete_scorer_names_the_file_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(ScorerError, match=r"lacks config\.json; train it with python -m audit"):
        open_scorer("bundled", tmp_path)


def test_importing_the_public_module_loads_no_heavy_library() -> None:
    code = (
        "import sys, audit.toxicity, audit.checks;"
        "print(sorted({'torch', 'transformers', 'detoxify', 'fairlearn', 'pandas'} "
        "& set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert found.stdout.strip() == "[]"


def test_the_shipped_scorer_meets_its_figures_and_its_size() -> None:
    figures = json.loads((BUNDLED / "figures.json").read_bytes())["figures"]["headline"]
    assert figures["davidson_auc"] >= 0.93
    assert figures["lowest_identity_auc"] >= 0.85
    assert sum(file.stat().st_size for file in BUNDLED.iterdir()) <= 16_000_000
    card = (BUNDLED / "README.md").read_text()
    assert f"{figures['davidson_auc']:.4f}" in card
    assert not any(file.suffix in {".ckpt", ".bin", ".pt", ".pkl"} for file in BUNDLED.iterdir())


def test_the_figures_on_the_card_are_those_of_the_shipped_weights(shared_data: Path) -> None:
    import numpy as np

    from audit.ruler import auc, by_identity
    from audit.scorer_card import score
    from audit.scorer_data import HELD_OUT_MADLIBS, identities, read

    splits = read(shared_data, num_sentences=100, num_madlibs=10, seed=0)
    written = json.loads((BUNDLED / "figures.json").read_bytes())["figures"]
    tweets = [row for row in splits.test if row.source == "davidson"]
    scores = score(open_scorer(), tweets)[:, 0]
    toxic = np.array([row.toxicity == 1 for row in tweets])
    assert auc(scores[toxic], scores[~toxic]) == pytest.approx(
        written["headline"]["davidson_auc"], abs=2e-3
    )
    madlibs = [row for row in splits.madlibs if row.part in HELD_OUT_MADLIBS]
    rows = by_identity(
        [row.text for row in madlibs],
        np.array([row.toxicity == 1 for row in madlibs]),
        score(open_scorer(), madlibs)[:, 0],
        identities(shared_data),
    )
    assert len(rows) == 50
    assert min(row.lowest for row in rows if row.lowest is not None) >= 0.85


def test_the_ruler_calls_no_plain_mention_of_a_group_toxic() -> None:
    found = audit_ruler(open_scorer(), threshold=0.5)
    assert sum(row["harmful"] for row in found["by_group"].values()) == 0
    assert found["gap"] < 0.2
