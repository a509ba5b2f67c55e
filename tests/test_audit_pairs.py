"""Stereotype pairs: the sentences are matched, the measure is CrowS-Pairs', nothing leaks."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from audit.checks import AUDITS
from audit.pairs import (
    PairsError,
    StereotypeConfig,
    choose,
    gap_row,
    log_likelihoods,
    read_pairs,
    share_interval,
    stereotype_pairs,
)
from audit.shop_pairs import Pair, shop_pairs
from eval.runner import FakeRunner, open_runner
from registry.dataset import DatasetError
from tests.lm_eval_oracle import lm_eval_samples


def write_csv(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sent_more", "sent_less", "bias_type"])
        writer.writerows(rows)
    return path


def test_at_least_200_built_in_pairs_differ_only_in_the_group_term() -> None:
    pairs = shop_pairs()
    assert len(pairs) >= 200
    assert len({pair.key for pair in pairs}) == len(pairs)
    for pair in pairs:
        more, less = pair.more.split(), pair.less.split()
        assert more != less
        assert len(more) == len(less)
        changed = [i for i in range(len(more)) if more[i] != less[i]]
        assert changed[-1] - changed[0] < 2, pair.key


def test_built_in_pairs_cover_nine_bias_types() -> None:
    assert {pair.bias_type for pair in shop_pairs()} == {
        "age", "disability", "gender", "nationality", "physical-appearance", "race-color",
        "religion", "sexual-orientation", "socioeconomic",
    }  # fmt: skip


def test_a_pair_counts_where_the_stereotyping_sentence_is_strictly_likelier(tmp_path: Path) -> None:
    # by hand: gaps +2, -1 and 0 give one of three, mean |gap| 1, mean gap 1/3
    logprobs = {"aa": -1.0, "ab": -3.0, "ba": -4.0, "bb": -3.0, "ca": -5.0, "cb": -5.0}
    path = write_csv(
        tmp_path / "pairs.csv", [("aa", "ab", "age"), ("ba", "bb", "age"), ("ca", "cb", "gender")]
    )
    measured = stereotype_pairs(
        FakeRunner(score=lambda context, text: logprobs[text]), StereotypeConfig(pairs=path)
    )
    assert [item.value for item in measured.items] == [1.0, 0.0, 0.0]
    assert [item.group for item in measured.items] == ["age", "age", "gender"]
    assert measured.summary["stereotype_share"] == pytest.approx(1 / 3)
    assert measured.summary["mean_absolute_gap_nats"] == pytest.approx(1.0)
    assert measured.summary["mean_gap_nats"] == pytest.approx(1 / 3)
    assert measured.tables["by_bias_type"]["age"]["share"] == 0.5
    assert measured.tables["by_bias_type"]["gender"]["stereotyped"] == 0


def test_a_model_without_preference_scores_one_half_on_counterbalanced_pairs(
    tmp_path: Path,
) -> None:
    rows = [("one", "three", "age"), ("three", "one", "age")] * 10
    path = write_csv(tmp_path / "pairs.csv", rows)
    measured = stereotype_pairs(FakeRunner(), StereotypeConfig(pairs=path))
    assert measured.summary["stereotype_share"] == 0.5
    # Clopper-Pearson for 10 of 20, scipy.stats.binomtest(10, 20).proportion_ci()
    assert measured.summary["stereotype_share_low"] == pytest.approx(0.27196, abs=1e-5)
    assert measured.summary["stereotype_share_high"] == pytest.approx(0.72804, abs=1e-5)


def test_the_template_is_the_cluster_and_the_bias_type_the_group_of_built_in_pairs() -> None:
    measured = stereotype_pairs(FakeRunner(), StereotypeConfig())
    assert len(measured.items) == len(shop_pairs())
    assert all(item.cluster and item.group for item in measured.items)
    assert len({item.cluster for item in measured.items}) > 40


def test_no_sentence_of_a_pair_reaches_the_evidence() -> None:
    measured = stereotype_pairs(FakeRunner(), StereotypeConfig())
    written = json.dumps(
        [
            [item.model_dump() for item in measured.items],
            dict(measured.summary),
            dict(measured.tables),
        ]
    )
    assert "customer" not in written
    assert "parcel" not in written
    assert all(item.answer is None for item in measured.items)


def test_choosing_spreads_over_the_types_and_repeats() -> None:
    first = choose(shop_pairs(), max_pairs=18, bias_types=None)
    assert first == choose(tuple(reversed(shop_pairs())), max_pairs=18, bias_types=None)[::-1]
    counts = [sum(p.bias_type == name for p in first) for name in {p.bias_type for p in first}]
    assert counts == [2] * 9


def test_an_unknown_bias_type_lists_what_there_is() -> None:
    with pytest.raises(PairsError, match="no bias type named 'agee'; have age, disability"):
        choose(shop_pairs(), max_pairs=None, bias_types=("agee",))


def test_bad_files_are_refused_with_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(PairsError, match="cannot read the pairs"):
        read_pairs(tmp_path / "missing.csv")
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("a,b\n1,2\n")
    with pytest.raises(PairsError, match="no column sent_more, sent_less, bias_type"):
        read_pairs(wrong)
    gap = write_csv(tmp_path / "gap.csv", [("x", "y", "age"), ("x", "", "age")])
    with pytest.raises(PairsError, match=r"gap\.csv, line 3: an empty field"):
        read_pairs(gap)
    with pytest.raises(PairsError, match="holds no pairs"):
        read_pairs(write_csv(tmp_path / "empty.csv", []))


def test_jsonl_rows_give_the_same_pairs_as_csv(tmp_path: Path) -> None:
    rows = [("x one", "y one", "age"), ("x two", "y two", "gender")]
    lines = [dict(zip(("sent_more", "sent_less", "bias_type"), row, strict=True)) for row in rows]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"id": f"p{i}"} | r) + "\n" for i, r in enumerate(lines)))
    found = read_pairs(path)
    assert [pair.key for pair in found] == ["p0", "p1"]
    assert [(p.more, p.less, p.bias_type) for p in found] == rows
    path.write_text('{"sent_more": "x"}\n')
    with pytest.raises(DatasetError, match=r"pairs\.jsonl:1: "):
        read_pairs(path)


def test_only_evidence_over_built_in_pairs_depends_on_their_digest(tmp_path: Path) -> None:
    digest = StereotypeConfig().built_in
    assert digest is not None
    assert digest.startswith("sha256:")
    assert StereotypeConfig(pairs=tmp_path / "pairs.csv").built_in is None


def test_crows_pairs_own_file_is_read_whole(shared_data: Path) -> None:
    pairs = read_pairs(shared_data / "crows_pairs" / "crows_pairs_anonymized.csv")
    assert len(pairs) == 1508
    assert len({pair.bias_type for pair in pairs}) == 9


def test_the_row_says_that_less_is_better_and_what_zero_means() -> None:
    row = next(check for check in AUDITS if check.name == "stereotype_pairs")
    assert not row.higher_is_better
    assert row.kind == "binary"
    assert ".5" in row.zero


@pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_equal_to_lm_evals_own_task_code_on_the_same_pairs_and_model(
    tiny_checkpoint: Path, shared_data: Path, tmp_path: Path, every: int
) -> None:
    import datasets
    from lm_eval.tasks.crows_pairs import utils

    file = shared_data / "crows_pairs" / "crows_pairs_anonymized.csv"
    rows = [(p.more, p.less, p.bias_type) for p in read_pairs(file)[::every]]
    path = write_csv(tmp_path / "pairs.csv", rows)
    runner = open_runner(tiny_checkpoint)
    ours = stereotype_pairs(runner, StereotypeConfig(pairs=path))
    scored = log_likelihoods(runner, read_pairs(path))
    docs = [{"sent_more": more, "sent_less": less, "bias_type": kind} for more, less, kind in rows]
    results, theirs = lm_eval_samples(tiny_checkpoint, "crows_pairs/crows_pairs_english.yaml", docs)
    assert len(theirs) == len(scored) == -(-1508 // every)
    for (more, less), sample in zip(scored, theirs, strict=True):
        (theirs_more, _), (theirs_less, _) = sample["filtered_resps"]
        assert more == pytest.approx(theirs_more, abs=1e-4)
        assert less == pytest.approx(theirs_less, abs=1e-4)
    assert [item.value for item in ours.items] == [s["pct_stereotype"] for s in theirs]
    assert ours.summary["stereotype_share"] == results["pct_stereotype,none"]
    assert ours.summary["mean_absolute_gap_nats"] == pytest.approx(
        results["likelihood_diff,none"], abs=1e-4
    )
    found = datasets.Dataset.from_list(
        [doc | {"value": s["pct_stereotype"]} for doc, s in zip(docs, theirs, strict=True)]
    )
    for name, rule in (
        ("age", utils.filter_age),
        ("disability", utils.filter_disability),
        ("gender", utils.filter_gender),
        ("nationality", utils.filter_nationality),
        ("physical-appearance", utils.filter_appearance),
        ("race-color", utils.filter_race_color),
        ("religion", utils.filter_religion),
        ("sexual-orientation", utils.filter_orientation),
        ("socioeconomic", utils.filter_socio),
    ):
        values = rule(found)["value"]
        assert ours.tables["by_bias_type"][name]["share"] == sum(values) / len(values)


def test_gaps_come_with_an_interval_that_takes_a_template_as_one() -> None:
    # t interval of 1 to 10: mean 5.5, se .9574271, t(9) 2.2621572; of each twice in a template
    # of its own the same, for the second tells nothing new
    gaps = [float(n) for n in range(1, 11)]
    alone = [Pair(str(n), "more", "less", "age") for n in range(20)]
    twice = [replace(pair, template=str(n // 2)) for n, pair in enumerate(alone)]
    for row in (gap_row(alone[:10], gaps), gap_row(twice, sorted(gaps * 2))):
        assert row["mean_gap_low_nats"] == pytest.approx(5.5 - 2.2621572 * 0.9574271, abs=1e-6)
        assert row["mean_gap_high_nats"] == pytest.approx(5.5 + 2.2621572 * 0.9574271, abs=1e-6)
    assert gap_row(alone[:5], gaps[:5])["mean_gap_low_nats"] is None
    assert gap_row(alone[:5], gaps[:5])["high"] == 1.0


def test_a_share_over_templates_that_agree_within_is_less_certain() -> None:
    # 6 of 10 templates, all pairs of one alike: .6 +- 2.2621572 * sqrt(.24 / 9)
    values = [1.0] * 6 + [0.0] * 4
    names = list("abcdefghij")
    assert share_interval(values, names) == pytest.approx((0.26238, 0.87845), abs=1e-5)
    low, high = share_interval(values * 3, names * 3)
    assert low == pytest.approx(0.6 - 0.3694087, abs=1e-6)
    assert high == pytest.approx(0.6 + 0.3694087, abs=1e-6)


def test_templates_that_cancel_themselves_out_do_not_narrow_the_interval() -> None:
    values = [1.0, 0.0] * 10
    alone = share_interval(values, [str(n) for n in range(20)])
    assert share_interval(values, [str(n // 2) for n in range(20)]) == alone


def test_fewer_than_six_templates_are_too_few_to_say() -> None:
    assert share_interval([1.0, 0.0] * 10, list("abcde") * 4) == (None, None)
    low, high = share_interval([1.0, 0.0] * 12, list("abcdef") * 4)
    assert low is not None
    assert high is not None
