"""The sampled audits: k draws of each prompt, items the gate can judge, tables beside."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from audit.checks import AUDITS
from audit.prompt_sets import PromptsError
from audit.sampled import (
    CompletionConfig,
    HonestConfig,
    Samples,
    completion_toxicity,
    expected_max_toxicity,
    honest_score,
    measured,
    sample,
    sampled_texts,
    toxicities,
)
from audit.toxicity import ScorerError
from eval.measure import collect, entry_digest
from eval.runner import Answer, FakeRunner, Sampling, open_runner
from registry.evidence import EvidenceStore
from tests.measuring import Entry, Policy


class FakeScorer:
    """.9 for what says "rude", .01 for anything else; remembers what it was asked."""

    name = "fake"
    digest = "sha256:" + "2" * 64

    def __init__(self) -> None:
        self.asked: list[str] = []

    def score(self, texts: Sequence[str]) -> list[dict[str, float]]:
        self.asked += texts
        return [{"toxicity": 0.9 if "rude" in text else 0.01} for text in texts]


class ScriptedRunner(FakeRunner):
    """Sample number k of a prompt is ``script(prompt, k)``; remembers its sampling."""

    def __init__(self, script: Callable[[str, int], str]) -> None:
        super().__init__()
        self.script = script
        self.samplings: list[Sampling] = []

    def completions(self, prompts: Sequence[str], sampling: Sampling) -> list[Answer]:
        self.calls += 1
        self.samplings.append(sampling)
        seen: dict[str, int] = {}
        said = []
        for prompt in prompts:
            number = seen[prompt] = seen.get(prompt, -1) + 1
            said.append(Answer(self.script(prompt, number)))
        return said


def toxigen_file(path: Path, *, per_group: int = 1, groups: str = "ab") -> Path:
    rows = [
        {"group": group, "label": "neutral", "prompt": f"- about {group} {number}"}
        for number in range(per_group)
        for group in groups
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def bold_file(folder: Path) -> Path:
    """One domain, two groups of 24 people each with one prompt, with what people wrote."""
    for name in ("prompts", "wikipedia"):
        (folder / name).mkdir(parents=True)
    prompts = {
        group: {f"{group}{n}": [f"{group}{n} is "] for n in range(24)}
        for group in ("sailors", "bakers")
    }
    articles = {
        group: {entity: [texts[0] + "rude."] if entity == "bakers0" else [texts[0] + "kind."]
                for entity, texts in entities.items()}
        for group, entities in prompts.items()
    }  # fmt: skip
    (folder / "prompts" / "trades_prompt.json").write_text(json.dumps(prompts))
    (folder / "wikipedia" / "trades_wiki.json").write_text(json.dumps(articles))
    return folder


def honest_file(path: Path) -> Path:
    rows = [
        f"{who} in shop {n} works as a [M].\t[I] in shop {n} works as a [M]\t{group}"
        for n in range(30)
        for who, group in (("the woman", "female"), ("the man", "male"))
    ]
    path.write_text("template_masked\traw\tcategory\n" + "\n".join(rows) + "\n")
    return path


def test_a_prompt_is_harm_where_any_of_its_samples_is_toxic(tmp_path: Path) -> None:
    config = CompletionConfig(
        prompt_set="toxigen", data=toxigen_file(tmp_path / "t.jsonl"), samples=4
    )
    samples = sample(
        ScriptedRunner(lambda prompt, k: "rude" if "a 0" in prompt and k == 2 else "kind"), config
    )
    found = measured(samples, FakeScorer(), config, lambda s: float(s.max() >= config.threshold))
    assert [(item.value, item.answer, item.group) for item in found.items] == [
        (1.0, "rude", "neutral/a"), (0.0, "kind", "neutral/b"),
    ]  # fmt: skip
    assert found.summary["toxicity_probability"] == 0.5
    assert found.summary["toxic_fraction"] == pytest.approx(1 / 8)
    assert found.summary["expected_max_toxicity"] == pytest.approx((0.9 + 0.01) / 2)
    highest = measured(samples, FakeScorer(), config, lambda s: float(s.max()))
    assert [item.value for item in highest.items] == [0.9, 0.01]


def test_all_samples_are_drawn_in_one_call_with_the_configured_sampling(tmp_path: Path) -> None:
    runner = ScriptedRunner(lambda prompt, k: f"sample {k}")
    config = CompletionConfig(prompt_set="toxigen", data=toxigen_file(tmp_path / "t.jsonl"), seed=7)
    samples = sample(runner, config)
    assert runner.samplings == [Sampling(max_tokens=20, temperature=1.0, seed=7)]
    assert samples.texts[1] == tuple(f"sample {k}" for k in range(25))


def test_a_prompt_that_fills_the_context_stays_unscored_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "rtp.jsonl"
    path.write_text(
        "".join(
            json.dumps({"prompt": {"text": text, "toxicity": 0.1}}) + "\n"
            for text in ("x" * 600, "short")
        )
    )
    config = CompletionConfig(prompt_set="real_toxicity_prompts", data=path, samples=2)
    found = measured(
        sample(FakeRunner(), config), FakeScorer(), config, lambda s: float(s.max() >= 0.5)
    )
    assert [(i.value, i.unscored) for i in found.items] == [
        (None, "the prompt fills the context"), (0.0, None),
    ]  # fmt: skip
    assert found.tables["overall"]["prompts"] == 1
    assert found.tables["comparisons"] == {}  # kinds of prompts are no groups of people


def test_nothing_answered_gives_no_rate_rather_than_zero() -> None:
    config = CompletionConfig.model_construct(prompt_set="toxigen", samples=2, threshold=0.5,
                                              temperature=1.0, max_tokens=20, seed=0)  # fmt: skip
    found = measured(Samples((), (), ()), FakeScorer(), config, lambda s: float(s.max()))
    assert found.summary["toxicity_probability"] is None
    assert found.tables["overall"] is None


def test_an_empty_completion_says_nothing_toxic_and_texts_are_scored_once() -> None:
    scorer = FakeScorer()
    assert toxicities(scorer, ["rude", "", "rude", " \n", "kind"]) == [0.9, 0.0, 0.9, 0.0, 0.01]
    assert scorer.asked == ["rude", "kind"]
    assert toxicities(scorer, []) == []


def test_a_lists_entry_ends_with_its_line_and_other_texts_do_not(tmp_path: Path) -> None:
    runner = ScriptedRunner(lambda prompt, k: "kind\n- rude")
    lists = CompletionConfig(
        prompt_set="toxigen", data=toxigen_file(tmp_path / "t.jsonl"), samples=1
    )
    assert sample(runner, lists).texts[0] == ("kind",)
    bold = CompletionConfig(prompt_set="bold", data=bold_file(tmp_path / "bold"), samples=1)
    assert sample(runner, bold).texts[0] == ("kind\n- rude",)


def test_groups_stand_beside_people_and_the_rulers_own_gap(tmp_path: Path) -> None:
    config = CompletionConfig(prompt_set="bold", data=bold_file(tmp_path / "bold"), samples=3)
    runner = ScriptedRunner(lambda prompt, k: "rude" if "bakers" in prompt and k else "kind")
    tables = measured(sample(runner, config), FakeScorer(), config, lambda s: float(s.max())).tables
    bakers = tables["groups"]["trades/bakers"]
    assert (bakers["prompts"], bakers["clusters"], bakers["toxic_samples"]) == (24, 24, 48)
    assert bakers["toxicity_probability"] == 1.0
    assert tables["groups"]["trades/sailors"]["toxic_fraction"] == 0.0
    trades = tables["comparisons"]["trades"]
    assert trades["gap"] == pytest.approx((2 * 0.9 + 0.01) / 3 - 0.01)
    assert trades["gap_p"] == trades["gap_p_holm"] == pytest.approx(1 / 2000)
    assert trades["ruler_gap"] == 0.0
    assert tables["human"]["overall"]["toxic_texts"] == 1
    assert tables["human"]["groups"]["trades/bakers"]["toxic_fraction"] == pytest.approx(1 / 24)
    assert tables["human"]["model_on_the_same_prompts"] == tables["overall"]
    assert tables["ruler"]["by_group"]["muslim"]["items"] == 10


def test_small_groups_are_too_few_to_say(tmp_path: Path) -> None:
    config = CompletionConfig(
        prompt_set="toxigen", data=toxigen_file(tmp_path / "t.jsonl", per_group=6), samples=2
    )
    tables = measured(
        sample(FakeRunner(), config), FakeScorer(), config, lambda s: float(s.max())
    ).tables
    assert tables["groups"]["neutral/a"]["note"].startswith("too few to say: 6 prompts")
    assert tables["comparisons"]["neutral"]["gap"] is None
    assert "too few to say" in tables["comparisons"]["neutral"]["note"]


def test_an_entitys_prompts_are_permuted_together(tmp_path: Path) -> None:
    """Two groups of three people with many prompts each: 60 prompts are still six people."""
    (tmp_path / "prompts").mkdir()
    path = tmp_path / "prompts" / "trades_prompt.json"
    path.write_text(
        json.dumps(
            {
                group: {f"{group}{n}": [f"{group}{n} {m} " for m in range(10)] for n in range(3)}
                for group in ("sailors", "bakers")
            }
        )
    )
    config = CompletionConfig(prompt_set="bold", data=path, samples=2)
    tables = measured(
        sample(FakeRunner(), config), FakeScorer(), config, lambda s: float(s.max())
    ).tables
    assert tables["groups"]["trades/bakers"]["note"] == (
        "too few to say: 3 clusters, 10 are the least"
    )
    assert tables["comparisons"]["trades"]["gap"] is None


def test_honest_counts_completions_with_a_word_of_the_lexicon(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("witch\n")
    config = HonestConfig(
        data=honest_file(tmp_path / "t.tsv"), lexicon=tmp_path / "words.txt", samples=4
    )
    runner = ScriptedRunner(lambda prompt, k: "witch." if "woman" in prompt and k == 0 else "cook.")
    found = honest_score(runner, config)
    assert found.summary["honest_score"] == pytest.approx(1 / 8)
    assert found.tables["groups"]["female"]["honest_score"] == 0.25
    assert found.tables["groups"]["male"]["honest_score"] == 0.0
    assert {item.value for item in found.items} == {0.25, 0.0}
    assert found.items[0].answer == "witch."
    assert found.summary["honest_score_low"] < 0.125 < found.summary["honest_score_high"]  # type: ignore[operator]


def test_honest_prompts_without_a_lexicon_are_scored_for_toxicity(tmp_path: Path) -> None:
    data = honest_file(tmp_path / "t.tsv")
    config = CompletionConfig(prompt_set="honest", data=data, samples=1, max_prompts=4)
    found = completion_toxicity(FakeRunner(reply=lambda text: "teacher."), config)
    assert [item.value for item in found.items] == [0.0] * 4
    assert found.tables["scorer"]["name"] == "bundled"
    with pytest.raises(ValidationError, match="lexicon"):
        HonestConfig.model_validate({"data": data})


def test_a_pinned_scorer_is_enforced(tmp_path: Path) -> None:
    config = CompletionConfig(
        prompt_set="toxigen", data=toxigen_file(tmp_path / "t.jsonl"), scorer_digest="sha256:0"
    )
    with pytest.raises(ScorerError, match="the configuration pins sha256:0"):
        expected_max_toxicity(FakeRunner(), config)


def test_the_configuration_names_the_files_that_decide_the_prompts(tmp_path: Path) -> None:
    folder = bold_file(tmp_path / "bold")
    config = CompletionConfig(prompt_set="bold", data=folder, max_prompts=10)
    assert config.num_items() == 10
    stored, digest = entry_digest(Entry("bold", "completion_toxicity", config))
    assert "data" not in stored
    article = folder / "wikipedia" / "trades_wiki.json"
    article.write_text(article.read_text().replace("kind", "good"))
    assert entry_digest(Entry("bold", "completion_toxicity", config))[1] != digest


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"temperature": 0}, {"prompt_set": "blod"}])
def test_a_configuration_that_cannot_be_measured_is_refused(
    tmp_path: Path, wrong: dict[str, object]
) -> None:
    with pytest.raises(ValidationError):
        CompletionConfig.model_validate({"prompt_set": "bold", "data": tmp_path, **wrong})


def test_texts_are_the_prompts_by_key_and_evidence_has_only_their_hashes(tmp_path: Path) -> None:
    config = CompletionConfig(
        prompt_set="toxigen", data=toxigen_file(tmp_path / "t.jsonl"), samples=1
    )
    assert sampled_texts(config) == {"line-1": ("- about a 0",), "line-2": ("- about b 0",)}
    found = measured(sample(FakeRunner(), config), FakeScorer(), config, lambda s: float(s.max()))
    assert "about a" not in repr((found.items, found.summary, found.tables))


def test_a_folder_without_prompts_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(PromptsError, match="give BOLD's folder"):
        sample(FakeRunner(), CompletionConfig(prompt_set="bold", data=tmp_path))


def test_each_sample_of_a_real_checkpoint_has_draws_of_its_own_and_a_rerun_the_same(
    tmp_path: Path, tiny_checkpoint: Path
) -> None:
    config = CompletionConfig(
        prompt_set="toxigen", data=toxigen_file(tmp_path / "t.jsonl", per_group=3), samples=5
    )
    first = sample(open_runner(tiny_checkpoint), config)
    assert all(len(set(texts or ())) == 5 for texts in first.texts)
    assert sample(open_runner(tiny_checkpoint), config) == first
    other = sample(open_runner(tiny_checkpoint), config.model_copy(update={"seed": 1}))
    assert set(other.texts).isdisjoint(first.texts)
    alone = toxigen_file(tmp_path / "alone.jsonl", per_group=1, groups="a")
    [texts] = sample(open_runner(tiny_checkpoint), config.model_copy(update={"data": alone})).texts
    assert texts == first.texts[0]  # whatever else is in the batch


def test_both_toxicity_audits_become_evidence_and_share_what_the_model_said(
    tmp_path: Path, tiny_checkpoint: Path
) -> None:
    config = CompletionConfig(
        prompt_set="bold", data=bold_file(tmp_path / "bold"), samples=2, max_tokens=8
    )
    rows = {check.name: check for check in AUDITS}
    names = ("completion_toxicity", "expected_max_toxicity")
    policy = Policy(tuple(Entry(name, name, config) for name in names))
    store = EvidenceStore(tmp_path / "store")
    evidence = collect(policy, AUDITS, tiny_checkpoint, store)
    probability, maximum = (evidence[name] for name in names)
    assert [item.answer for item in probability.items] == [item.answer for item in maximum.items]
    assert {item.value for item in probability.items} <= {0.0, 1.0}
    mean = sum(item.value or 0.0 for item in maximum.items) / 48
    assert maximum.summary["expected_max_toxicity"] == pytest.approx(mean)
    assert rows["completion_toxicity"].kind == "rare_harm"
    assert rows["expected_max_toxicity"].kind == "numeric"
    assert collect(policy, AUDITS, tiny_checkpoint, store)[names[0]] == probability
