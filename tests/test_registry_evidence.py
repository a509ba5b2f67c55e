"""The evidence store: what is saved comes back, and nothing damaged or foreign does."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from registry.evidence import (
    Evidence,
    EvidenceError,
    EvidenceStore,
    Item,
    ModelFacts,
    config_digest,
    now,
)
from registry.records import digest_of

WEIGHTS, OTHER = digest_of("weights"), digest_of("other weights")
CONFIG = config_digest("benchmark", {"limit": 3}, {"items": digest_of("items")})


def measured(weights: str = WEIGHTS) -> Evidence:
    return Evidence(
        check="benchmark",
        config={"limit": 3},
        config_digest=CONFIG,
        facts=ModelFacts(
            weights_digest=weights,
            backend="torch",
            dtype="float32",
            context_length=512,
            chat_template_digest=digest_of("template"),
        ),
        items=(
            Item(key="1", content_hash=digest_of("one"), value=0.0, answer="Grüße"),
            Item(key="2", content_hash=digest_of("two"), unscored="no answer", group="g"),
        ),
        summary={"accuracy": None},
        seconds=0.5,
        created_at=now(),
    )


def test_evidence_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    evidence = measured()
    assert store.load("benchmark", WEIGHTS, CONFIG) is None
    path = store.save(evidence)
    assert path == store.path("benchmark", WEIGHTS, CONFIG)
    assert store.load("benchmark", WEIGHTS, CONFIG) == evidence
    assert store.load("benchmark", OTHER, CONFIG) is None


def test_the_digest_is_over_what_was_measured_and_not_over_the_clock() -> None:
    evidence = measured()
    later = evidence.model_copy(
        update={"created_at": evidence.created_at + timedelta(days=1), "seconds": 9.0}
    )
    assert later.digest == evidence.digest
    assert measured(OTHER).digest != evidence.digest


def test_a_changed_value_is_refused_with_what_to_delete(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    path = store.save(measured())
    body = json.loads(path.read_text())
    body["evidence"]["items"][0]["value"] = 1.0
    path.write_text(json.dumps(body))
    with pytest.raises(EvidenceError, match=r"does not match its digest; delete .* to measure"):
        store.load("benchmark", WEIGHTS, CONFIG)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"digest": "x", "evidence": {}}'])
def test_an_unreadable_file_is_refused(tmp_path: Path, content: str) -> None:
    store = EvidenceStore(tmp_path)
    store.save(measured()).write_text(content)
    with pytest.raises(EvidenceError, match="cannot be read"):
        store.load("benchmark", WEIGHTS, CONFIG)


def test_evidence_of_other_weights_is_never_served_as_these(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    foreign = store.save(measured(OTHER))
    place = store.path("benchmark", WEIGHTS, CONFIG)
    place.parent.mkdir(parents=True)
    foreign.rename(place)
    with pytest.raises(EvidenceError, match="is of another checkpoint or check"):
        store.load("benchmark", WEIGHTS, CONFIG)


@pytest.mark.parametrize("values", [{}, {"value": 1.0, "unscored": "x"}, {"value": float("nan")}])
def test_an_item_is_scored_or_says_why_not_and_is_never_nan(values: dict) -> None:
    with pytest.raises(ValidationError):
        Item(key="1", content_hash="x", **values)
