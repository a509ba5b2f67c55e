"""Human ratings as evidence: whose answers were rated, how well raters agree, what is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.checks import CHECKS, human_ratings
from eval.judging import HumanRatingsConfig, Level
from eval.measure import collect
from eval.plan import count_items
from eval.policy import load_policy
from eval.policy_yaml import PolicyError
from eval.ratings import RatingsError, agreement, read_ratings
from eval.report import table_lines
from eval.runner import FactsOnly, RunnerError
from registry.checkpoint import read_manifest
from registry.evidence import EvidenceStore
from registry.records import digest_of, short
from registry.verdict import Status
from tests.gate_cases import BASELINE, CANDIDATE, entry, evidence, only, verdict

MINE, OTHER = digest_of(b"mine"), digest_of(b"other")

# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section D: four observers,
# twelve units, missing values as None.
PUBLISHED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


def rating(item: str, rater: str, score: float, checkpoint: str = MINE, **more: Any) -> Any:
    return {"item": item, "rater": rater, "score": score, "checkpoint": checkpoint} | more


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def settings(path: Path, **more: Any) -> HumanRatingsConfig:
    return HumanRatingsConfig.model_validate(
        {"ratings": path, "scale_min": 1, "scale_max": 5} | more
    )


def published(path: Path, checkpoint: str = MINE) -> Path:
    """The published table as a ratings file."""
    return write(
        path,
        [
            rating(f"unit-{unit:02}", f"observer-{observer}", score, checkpoint)
            for observer, scores in enumerate(PUBLISHED)
            for unit, score in enumerate(scores)
            if score is not None
        ],
    )


@pytest.mark.parametrize(
    ("level", "alpha"),
    [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)],
)
def test_alpha_has_its_published_values(tmp_path: Path, level: Level, alpha: float) -> None:
    config = settings(published(tmp_path / "r.jsonl"), level=level)
    measured = human_ratings(FactsOnly(MINE), config)
    assert measured.summary["alpha"] == pytest.approx(alpha, abs=5e-4)


def test_alphas_interval_is_seeded_and_holds_the_estimate(tmp_path: Path) -> None:
    config = settings(published(tmp_path / "r.jsonl"))
    one = human_ratings(FactsOnly(MINE), config).summary
    assert one == human_ratings(FactsOnly(MINE), config).summary
    alpha, low, high = (one[name] for name in ("alpha", "alpha_low", "alpha_high"))
    assert alpha is not None
    assert low is not None
    assert high is not None
    assert -1 <= low < alpha < high <= 1
    other = human_ratings(FactsOnly(MINE), config.model_copy(update={"seed": 1})).summary
    assert other["alpha_low"] != low


def test_full_agreement_is_one_and_chance_is_about_nought() -> None:
    rng = np.random.default_rng(3)
    agreed = [[float(score)] * 3 for score in rng.integers(1, 6, 40)]
    assert agreement(agreed, "ordinal", rng=rng)[:2] == (1.0, (1.0, 1.0))
    random = [[float(x) for x in rng.integers(1, 6, 3)] for _ in range(400)]
    alpha, interval, _ = agreement(random, "ordinal", rng=rng)
    assert interval is not None
    assert interval[0] < 0 < interval[1]
    assert abs(alpha or 0.0) < 0.1


def test_without_the_library_of_agreement_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "krippendorff", None)
    with pytest.raises(RatingsError, match=r"pip install 'hallmark-gate\[ratings\]'"):
        agreement([[1.0, 2.0]], "ordinal", rng=np.random.default_rng(0))


def test_agreement_that_cannot_be_computed_says_why() -> None:
    rng = np.random.default_rng(0)
    assert agreement([[1.0], [2.0]], "ordinal", rng=rng) == (None, None, "no item has two raters")
    alpha, interval, why = agreement([[3.0, 3.0], [3.0, 3.0]], "ordinal", rng=rng)
    assert (alpha, interval) == (None, None)
    assert why == "all ratings are equal, so no chance agreement can be computed"


def test_an_items_value_is_the_mean_of_its_raters_as_a_share_of_the_scale(
    tmp_path: Path,
) -> None:
    rows = [
        rating("a", "ann", 5, cluster="t1", group="date"),
        rating("a", "bob", 4, cluster="t1", group="date"),
        rating("b", "ann", 1),
        rating("b", "bob", 1),
        rating("c", "ann", 3),
    ]
    measured = human_ratings(FactsOnly(MINE), settings(write(tmp_path / "r.jsonl", rows)))
    first, second, third = measured.items
    assert (first.key, first.value, first.cluster, first.group) == ("a", 0.875, "t1", "date")
    assert second.value == 0.0
    assert (third.value, third.unscored) == (None, "rated by 1, min_raters is 2")
    assert measured.summary["raters"] == 2
    assert measured.summary["ratings"] == 5


def test_ratings_of_other_weights_are_never_used(tmp_path: Path) -> None:
    rows = [
        rating("a", "ann", 5, short(MINE)),
        rating("a", "bob", 5, MINE),
        rating("a", "ann", 1, OTHER),
        rating("a", "bob", 1, OTHER.removeprefix("sha256:")),
        rating("b", "ann", 2, OTHER),
        rating("b", "bob", 2, OTHER),
    ]
    path = write(tmp_path / "r.jsonl", rows)
    mine = human_ratings(FactsOnly(MINE), settings(path)).items
    other = human_ratings(FactsOnly(OTHER), settings(path)).items
    assert [(i.key, i.value, i.unscored) for i in mine] == [
        ("a", 1.0, None),
        ("b", None, "nobody rated this checkpoint's answer"),
    ]
    assert [(i.key, i.value) for i in other] == [("a", 0.0), ("b", 0.25)]
    assert [i.content_hash for i in mine] == [i.content_hash for i in other]


def test_a_checkpoint_that_nobody_rated_is_invalid_and_told_whose_ratings_there_are(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "r.jsonl", [rating("a", "ann", 5, OTHER), rating("a", "b", 5, OTHER)])
    measured = human_ratings(FactsOnly(CANDIDATE), settings(path))
    found = only(verdict(entry("numeric", limit={"min": 0.5}), evidence(measured.items, CANDIDATE)))
    assert found.status is Status.INVALID
    assert f"no rating of {short(CANDIDATE)}; the file rates {short(OTHER)}" in found.reason


def test_raters_who_agree_too_little_make_the_entry_invalid(tmp_path: Path) -> None:
    path = published(tmp_path / "r.jsonl", CANDIDATE)
    enough = human_ratings(FactsOnly(CANDIDATE), settings(path, min_agreement=0.8))
    assert sum(item.value is not None for item in enough.items) == 11  # unit 12 has one rater
    few = human_ratings(FactsOnly(CANDIDATE), settings(path, min_agreement=0.82))
    assert {item.value for item in few.items} == {None}
    rule = entry("numeric", limit={"min": 0.1}, max_unscored=12)
    found = only(verdict(rule, evidence(few.items, CANDIDATE)))
    assert found.status is Status.INVALID
    refused = only(verdict(entry("numeric", limit={"min": 0.1}), evidence(few.items, CANDIDATE)))
    assert (
        "the raters agree too little: Krippendorff's alpha 0.815, 0.82 is asked" in refused.reason
    )


def test_agreement_that_is_asked_for_and_not_known_is_no_agreement(tmp_path: Path) -> None:
    rows = [rating(item, rater, 3) for item in "ab" for rater in ("ann", "bob")]
    config = settings(write(tmp_path / "r.jsonl", rows), min_agreement=0.5)
    items = human_ratings(FactsOnly(MINE), config).items
    assert {item.value for item in items} == {None}
    assert "agreement is not known: all ratings are equal" in (items[0].unscored or "")


def test_the_report_shows_alpha_with_its_interval(tmp_path: Path) -> None:
    measured = human_ratings(FactsOnly(MINE), settings(published(tmp_path / "r.jsonl")))
    shown = "\n".join(table_lines("agreement", measured.tables["agreement"]))
    assert "level: ordinal; alpha: 0.8154; low: 0." in shown
    assert "bootstrap interval over items" in shown


def test_two_rated_checkpoints_are_compared_by_the_usual_numeric_rule(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rows = []
    for index in range(60):
        base = int(rng.integers(2, 5))
        for rater in ("ann", "bob"):
            rows.append(rating(f"i{index}", rater, base, BASELINE))
            rows.append(rating(f"i{index}", rater, min(5, base + index % 2), CANDIDATE))
    path = write(tmp_path / "r.jsonl", rows)
    sides = [
        evidence(human_ratings(FactsOnly(weights), settings(path)).items, weights)
        for weights in (CANDIDATE, BASELINE)
    ]
    found = only(verdict(entry("numeric", margin=0.02), *sides))
    assert found.status is Status.PASS
    assert found.estimate == pytest.approx(0.125)  # every second item one point of four
    assert found.method.startswith("t interval")


def test_csv_and_jsonl_give_the_same_items(tmp_path: Path) -> None:
    rows = [rating("a, b", r, s, short(MINE), group="g") for r, s in (("ann", 4.5), ("bob", 3))]
    table = tmp_path / "r.csv"
    lines = [f'"{r["item"]}",{r["rater"]},{r["score"]},{r["checkpoint"]},,g' for r in rows]
    table.write_text(
        "\ufeffitem,rater,score,checkpoint,cluster,group\n" + "\n".join(lines) + "\n",
        encoding="utf-8",
    )
    one = human_ratings(FactsOnly(MINE), settings(table))
    other = human_ratings(FactsOnly(MINE), settings(write(tmp_path / "r.jsonl", rows)))
    assert one == other
    assert one.items[0].value == pytest.approx((3.75 - 1) / 4)


GOOD = rating("a", "ann", 3)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (rating("b", "ann", 6), "r.jsonl:2: score 6 lies off the scale 1 to 5"),
        (rating("b", "ann", 0.5), "r.jsonl:2: score 0.5 lies off the scale 1 to 5"),
        ({"item": "b", "rater": "ann", "score": 3}, "r.jsonl:2: checkpoint: Field required"),
        (rating("b", "ann", "4"), "r.jsonl:2: score: Input should be a valid number, got '4'"),  # type: ignore[arg-type]  # on purpose
        (rating("b", "ann", True), "r.jsonl:2: score: Input should be a valid number"),
        (rating("b", "ann", 3, "my-model"), "r.jsonl:2: checkpoint: String should match"),
        (rating("b", "ann", 3, side="left"), "r.jsonl:2: side: Extra inputs are not permitted"),
        (GOOD, "rater 'ann' rated item 'a' of .* in line 1 already"),
        (rating("a", "ann", 4, short(MINE)), "in line 1 already"),
        (rating("a", "bob", 3, group="g"), "item 'a' has \\(cluster, group\\)"),
        ([1], "r.jsonl:2: Input should be a valid dictionary"),
    ],
)
def test_a_malformed_row_is_named_by_file_line_and_value(
    tmp_path: Path, row: Any, said: str
) -> None:
    path = write(tmp_path / "r.jsonl", [GOOD, row])
    with pytest.raises(RatingsError, match=said):
        human_ratings(FactsOnly(MINE), settings(path))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("r.jsonl", "", "r.jsonl has no ratings"),
        ("r.jsonl", "item,rater,score\n", "r.jsonl:1: not a JSON object .* ends in .csv"),
        ("r.jsonl", '{"item": NaN}\n', "r.jsonl:1: item: Input should be a valid string"),
        ("r.csv", "item,rater,score,checkpoint\n", "r.csv has no ratings"),
        ("r.csv", f"item,rater,score,checkpoint\na,b,good,{MINE}\n", "r.csv:2: score 'good' is"),
        ("r.csv", f"item,rater,score,checkpoint\na,b,nan,{MINE}\n", "r.csv:2: score: .*finite"),
        ("r.csv", "item,rater,points,checkpoint\na,b,3,c\n", "r.csv:2: score: Field required"),
        ("r.csv", "item,rater,score,checkpoint\na,b,3,c,d\n", "r.csv:2: more cells than"),
        ("r.csv", 'item,rater,score\n"a,b,3\n', "r.csv:.*: not valid CSV"),
    ],
)
def test_a_file_that_is_no_ratings_file_is_refused(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(RatingsError, match=said):
        read_ratings(path, scale=(1, 5))


def test_a_file_that_is_not_text_or_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RatingsError, match=r"r\.csv cannot be read: .*utf-8"):
        read_ratings(path, scale=(1, 5))
    with pytest.raises(RatingsError, match="No such file"):
        read_ratings(tmp_path / "away.csv", scale=(1, 5))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("scale_min: 5, scale_max: 1", "scale_min 5 must lie below scale_max 1"),
        ("scale_min: 1, scale_max: 5, level: likert", "config.level: got 'likert'"),
        ("scale_min: 1, scale_max: 5, min_raters: 0", "config.min_raters: got 0"),
        ("scale_min: -1, scale_max: 1, level: ratio", "level ratio needs a scale whose zero"),
        ("scale_min: 1, scale_max: 5, min_raters: 1, min_agreement: 0.8", "at least 2"),
        ("scale_max: 5", "config.scale_min: is missing"),
    ],
)
def test_a_policy_that_misdescribes_its_ratings_is_refused_by_line_and_key(
    tmp_path: Path, more: str, said: str
) -> None:
    write(tmp_path / "r.jsonl", [GOOD])
    path = tmp_path / "p.yaml"
    path.write_text(
        "schema_version: 1\nname: p\nentries:\n  - name: people\n    check: human_ratings\n"
        f"    config: {{ratings: r.jsonl, {more}}}\n"
        "    tier: required\n    margin: 0.1\n    min_items: 1\n    reason: r\n    owner: o\n"
    )
    with pytest.raises(PolicyError) as raised:
        load_policy(path, CHECKS, Path)
    assert str(raised.value).startswith(f"{path}:6: entry people, config")
    assert said in str(raised.value)


def test_planning_counts_items_and_not_ratings(tmp_path: Path) -> None:
    published(tmp_path / "r.jsonl")
    path = tmp_path / "p.yaml"
    path.write_text(
        "schema_version: 1\nname: p\nentries:\n  - name: people\n    check: human_ratings\n"
        "    config: {ratings: r.jsonl, scale_min: 1, scale_max: 5}\n"
        "    tier: required\n    margin: 0.1\n    min_items: 1\n    reason: r\n    owner: o\n"
    )
    assert count_items(load_policy(path, CHECKS, Path)) == {"people": 12}


class People:
    """A policy's entry as ``collect`` needs it."""

    name = "people"
    check = "human_ratings"

    def __init__(self, config: HumanRatingsConfig) -> None:
        self.config = config


class Policy:
    def __init__(self, *entries: People) -> None:
        self.entries = entries


def test_no_model_is_loaded_and_the_evidence_is_of_the_rated_weights(
    tmp_path: Path, tiny_checkpoint: Path
) -> None:
    weights = read_manifest(tiny_checkpoint).weights_digest
    rows = [rating(item, rater, 4, weights) for item in "ab" for rater in ("ann", "bob")]
    policy = Policy(People(settings(write(tmp_path / "r.jsonl", rows))))

    def never(folder: Path) -> Any:
        raise AssertionError("a model was loaded")

    store = EvidenceStore(tmp_path / "evidence")
    found = collect(policy, CHECKS, tiny_checkpoint, store, opened_by=never)["people"]
    assert found.facts.weights_digest == weights
    assert found.facts.backend == "none"
    assert [item.value for item in found.items] == [0.75, 0.75]


@pytest.mark.parametrize(
    "asked",
    [
        lambda runner: runner.answers([], None),
        lambda runner: runner.documents(["a"]),
        lambda runner: runner.render([], answer_next=True),
    ],
)
def test_a_check_that_said_it_needs_no_model_gets_none(asked: Callable[[Any], Any]) -> None:
    with pytest.raises(RunnerError, match="needs no model"):
        asked(FactsOnly(MINE))
