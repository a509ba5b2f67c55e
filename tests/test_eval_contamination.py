"""Leaked items: found in training data, kept, counted against the policy, and taken out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from commands.session import Session
from commands.training_data import training_data
from eval.checks import CHECKS
from eval.contamination import (
    Contamination,
    ContaminationError,
    ContaminationStore,
    find,
    leaked_items,
    untraceable,
)
from eval.gate import Entry, Policy, PolicyError, judge, load_policy
from registry.checkpoint import DatasetRef, FileEntry, Lineage, Manifest, weights_digest
from registry.dataset import publish_dataset, write_jsonl
from registry.evidence import Evidence, now
from registry.verdict import Finding, Status
from tests.gate_cases import BASELINE, CANDIDATE, NOW, evidence, items

NUM_ITEMS = 40
POLICY = """\
schema_version: 1
name: grammar
entries:
  - name: pairs
    check: benchmark
    config: {{data: pairs.jsonl, kind: minimal_pairs}}
    tier: required
    margin: 0.2
    min_items: 10
    contamination: {{max_share: {max_share}}}
    reason: test
    owner: test
"""


def sentence(number: int, ending: str) -> str:
    return f"Customer {number} asked us why parcel {number} had {ending} on that morning"


def pairs(num: int = NUM_ITEMS) -> list[dict[str, str]]:
    return [
        {"id": f"p{n}", "good": sentence(n, "arrived"), "bad": sentence(n, "arrive")}
        for n in range(num)
    ]


def write_policy(folder: Path, *, max_share: float = 0.05) -> Policy:
    write_jsonl(folder / "pairs.jsonl", pairs())
    path = folder / "policy.yaml"
    path.write_text(POLICY.format(max_share=max_share))
    return load_policy(path, CHECKS, Path)


def dataset(root: Path, texts: Sequence[str], name: str = "talk") -> dict[str, Path]:
    """Published training data: the folder by its digest."""
    rows = [{"text": f"An ordinary page, number {n}."} for n in range(50)]
    write_jsonl(root / "staging" / "train.jsonl", [*rows, *({"text": text} for text in texts)])
    folder, manifest = publish_dataset(
        root / "staging", root / "datasets", name=name, licence="CC0-1.0", source="t", recipe={}
    )
    return {manifest.digest: folder}


def measured(entry: Entry, values: Sequence[float], weights: str) -> Evidence:
    """Evidence on the policy's items, one value each, under its own configuration."""
    from eval.measure import entry_digest

    made = items(values)
    named = [one.model_copy(update={"key": f"p{n}"}) for n, one in enumerate(made)]
    return evidence(tuple(named), weights, check="benchmark", config_digest=entry_digest(entry)[1])


def finding(
    one: Policy,
    found: dict[str, Contamination],
    ours: Sequence[float],
    theirs: Sequence[float] | None = None,
) -> Finding:
    (entry,) = one.entries
    verdict = judge(
        one,
        {"pairs": measured(entry, ours, CANDIDATE)},
        None if theirs is None else {"pairs": measured(entry, theirs, BASELINE)},
        candidate_digest=CANDIDATE,
        baseline_digest=None if theirs is None else BASELINE,
        against="champion",
        now=NOW,
        contamination=found,
    )
    assert verdict.status is verdict.findings[0].status or theirs is None
    return verdict.findings[0]


ALL_RIGHT = [1.0] * NUM_ITEMS


def test_planted_items_are_found_and_fail_the_entry_past_the_share(tmp_path: Path) -> None:
    one = write_policy(tmp_path, max_share=0.05)  # 2 of 40
    leaks = [f"Seen: {sentence(n, 'arrived').upper()}!" for n in (3, 7, 11)]
    found = find(one.entries, dataset(tmp_path, leaks), ContaminationStore(tmp_path / "kept"))
    assert found["pairs"].leaked == ("p11", "p3", "p7")
    assert (found["pairs"].num_items, found["pairs"].num_documents) == (40, 53)
    judged = finding(one, found, ALL_RIGHT, ALL_RIGHT)
    assert judged.status is Status.FAIL
    assert "3 of 40 items were in its training data, more than the share of 0.05" in judged.reason


def test_the_share_itself_is_allowed_and_the_clean_part_stands_beside_the_whole(
    tmp_path: Path,
) -> None:
    """38 clean items, 19 right of them against 38: candidate .5, baseline 1, difference -.5."""
    one = write_policy(tmp_path, max_share=0.05)
    found = find(
        one.entries,
        dataset(tmp_path, [sentence(0, "arrived"), sentence(1, "arrive")]),
        ContaminationStore(tmp_path / "kept"),
    )
    judged = finding(one, found, [1.0] * 21 + [0.0] * 19, ALL_RIGHT)
    assert "2 of 40 items were in its training data" in judged.reason
    part = judged.clean
    assert part is not None
    assert (part.leaked, part.n, part.max_share) == (2, 38, 0.05)
    assert (part.candidate, part.baseline, part.estimate) == (0.5, 1.0, -0.5)
    assert part.low is not None
    assert part.high is not None
    assert part.low < -0.5 < part.high
    assert judged.candidate == 21 / 40
    assert finding(one, found, ALL_RIGHT, ALL_RIGHT).status is Status.PASS


def test_a_clean_benchmark_passes(tmp_path: Path) -> None:
    one = write_policy(tmp_path, max_share=0.0)
    found = find(one.entries, dataset(tmp_path, []), ContaminationStore(tmp_path / "kept"))
    judged = finding(one, found, ALL_RIGHT, ALL_RIGHT)
    assert judged.status is Status.PASS
    assert judged.clean is not None
    assert judged.clean.leaked == 0
    assert judged.clean.estimate == judged.estimate


def test_a_first_champion_trained_on_the_items_is_refused_too(tmp_path: Path) -> None:
    """Without a baseline an entry with only a margin is not judged; with leaks it fails."""
    one = write_policy(tmp_path)
    every = [row["good"] for row in pairs()]
    found = find(one.entries, dataset(tmp_path, every), ContaminationStore(tmp_path / "kept"))
    judged = finding(one, found, ALL_RIGHT)
    assert (judged.status, judged.tier) == (Status.FAIL, "required")
    assert judged.clean is not None
    assert (judged.clean.leaked, judged.clean.n, judged.clean.candidate) == (40, 0, None)


def test_a_second_gate_looks_through_nothing(tmp_path: Path) -> None:
    one = write_policy(tmp_path)
    training = dataset(tmp_path, [sentence(5, "arrived")])
    store = ContaminationStore(tmp_path / "kept")
    first = find(one.entries, training, store)
    (folder,) = training.values()
    (folder / "train.jsonl").unlink()
    assert find(one.entries, training, store) == first
    with pytest.raises(ContaminationError, match=r"train\.jsonl is missing"):
        find(one.entries, training, ContaminationStore(tmp_path / "elsewhere"))


def test_other_words_in_a_run_other_items_or_other_data_are_looked_for_anew(
    tmp_path: Path,
) -> None:
    one = write_policy(tmp_path)
    store = ContaminationStore(tmp_path / "kept")
    find(one.entries, dataset(tmp_path, []), store)
    more = dataset(tmp_path, [sentence(5, "arrived")], name="more")
    assert find(one.entries, more, store)["pairs"].leaked == ("p5",)
    assert len(list((tmp_path / "kept").iterdir())) == 2
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pairs()[5]) + "\n")
    assert find(one.entries, more, store)["pairs"].num_items == 1


@pytest.mark.parametrize("damage", ["{", '{"digest": "x", "contamination": {}}', None])
def test_a_damaged_record_is_refused_with_what_to_do(tmp_path: Path, damage: str | None) -> None:
    one = write_policy(tmp_path)
    store = ContaminationStore(tmp_path / "kept")
    training = dataset(tmp_path, [sentence(5, "arrived")])
    find(one.entries, training, store)
    (path,) = (tmp_path / "kept").iterdir()
    path.write_text(damage or path.read_text().replace('"p5"', '"p6"'))
    with pytest.raises(ContaminationError, match=r"delete .* to look through"):
        find(one.entries, training, store)


def test_changed_training_data_is_not_taken_for_what_was_trained_on(tmp_path: Path) -> None:
    one = write_policy(tmp_path)
    (digest, folder), = dataset(tmp_path, []).items()  # fmt: skip
    other = dataset(tmp_path, ["another page"])
    with pytest.raises(ContaminationError, match="is dataset"):
        find(one.entries, {digest: next(iter(other.values()))}, ContaminationStore(tmp_path / "k"))
    with (folder / "train.jsonl").open("a") as file:
        file.write('{"text": "added later"}\n')
    with pytest.raises(ContaminationError, match="was changed"):
        find(one.entries, {digest: folder}, ContaminationStore(tmp_path / "k"))


def test_an_entry_that_asks_and_gets_no_record_is_invalid(tmp_path: Path) -> None:
    one = write_policy(tmp_path)
    judged = finding(one, {}, ALL_RIGHT, ALL_RIGHT)
    assert judged.status is Status.INVALID
    assert "nobody looked" in judged.reason


def test_unknown_training_data_is_invalid_and_says_why(tmp_path: Path) -> None:
    one = write_policy(tmp_path)
    judged = finding(one, untraceable(one.entries, "it was imported"), ALL_RIGHT, ALL_RIGHT)
    assert judged.status is Status.INVALID
    assert judged.reason == "contamination cannot be judged: it was imported"


@pytest.mark.parametrize(
    "change",
    [{"num_items": 39}, {"ngram": 8}, {"config_digest": "sha256:x"}, {"leaked": ("q",)}],
)
def test_a_record_of_other_items_is_invalid(tmp_path: Path, change: dict[str, Any]) -> None:
    one = write_policy(tmp_path)
    found = find(one.entries, dataset(tmp_path, []), ContaminationStore(tmp_path / "kept"))
    wrong = {"pairs": found["pairs"].model_copy(update=change)}
    assert finding(one, wrong, ALL_RIGHT, ALL_RIGHT).status is Status.INVALID


def test_the_record_is_bound_into_the_verdict(tmp_path: Path) -> None:
    one = write_policy(tmp_path)
    found = find(one.entries, dataset(tmp_path, []), ContaminationStore(tmp_path / "kept"))
    (entry,) = one.entries
    sides = {digest: {"pairs": measured(entry, ALL_RIGHT, digest)} for digest in
             (CANDIDATE, BASELINE)}  # fmt: skip
    verdict = judge(
        one, sides[CANDIDATE], sides[BASELINE], candidate_digest=CANDIDATE,
        baseline_digest=BASELINE, against="champion", now=NOW, contamination=found,
    )  # fmt: skip
    assert verdict.evidence_digests["contamination/pairs"] == found["pairs"].digest


def test_an_absent_rule_leaves_digests_of_policies_and_verdicts_as_they_were(
    tmp_path: Path,
) -> None:
    plain = tmp_path / "plain.yaml"
    write_policy(tmp_path)
    plain.write_text(POLICY.replace("    contamination: {{max_share: {max_share}}}\n", "").format())
    loaded = load_policy(plain, CHECKS, Path)
    assert "contamination" not in json.dumps(loaded.written.model_dump(mode="json"))
    (entry,) = loaded.entries
    verdict = judge(
        loaded, {"pairs": measured(entry, ALL_RIGHT, CANDIDATE)}, None,
        candidate_digest=CANDIDATE, baseline_digest=None, against="champion", now=NOW,
    )  # fmt: skip
    assert not {"clean", "noise"} & verdict.findings[0].model_dump(mode="json").keys()


def test_a_check_without_texts_cannot_ask_for_contamination(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(
        POLICY.format(max_share=0.1)
        .replace("check: benchmark", "check: human_ratings")
        .replace("{data: pairs.jsonl, kind: minimal_pairs}", "{ratings: r.csv}")
    )
    with pytest.raises(PolicyError, match=r"human_ratings does not say .* these checks do: answer"):
        load_policy(path, CHECKS, Path)


@pytest.mark.parametrize("share", ["-0.1", "1", "{max_share: 0.1, ngram: 5}"])
def test_a_share_or_run_out_of_bounds_is_refused(tmp_path: Path, share: str) -> None:
    write_policy(tmp_path)
    text = POLICY.format(max_share=share)
    if share.startswith("{"):
        text = text.replace(f"{{max_share: {share}}}", share)
    (tmp_path / "policy.yaml").write_text(text)
    with pytest.raises(PolicyError, match="contamination"):
        load_policy(tmp_path / "policy.yaml", CHECKS, Path)


def test_leaked_items_is_all_that_a_planted_regression_needs() -> None:
    texts = {row["id"]: (row["good"], row["bad"]) for row in pairs(4)}
    assert leaked_items(texts, [sentence(2, "arrive"), "nothing"]) == ["p2"]
    assert leaked_items(texts, []) == []


# Where the training data is


def record(session: Session, name: str, **lineage: Any) -> Manifest:
    files = {"config.json": FileEntry(sha256=(name.encode().hex() * 64)[:64], size_bytes=1)}
    made = Manifest(
        **Lineage(name=name, **lineage).model_dump(),
        weights_digest=weights_digest(files),
        files=files,
        versions={},
        code_revision="test",
        created_at=now(),
    )
    session.ledger.record_checkpoint(made, f"/checkpoints/{name}")
    return made


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session.open(tmp_path / "home", None)


def published(session: Session, tmp_path: Path, name: str) -> DatasetRef:
    from registry.dataset import read_dataset

    ((digest, folder),) = dataset(tmp_path, [name], name=name).items()
    session.ledger.record_dataset(read_dataset(folder), folder)
    return DatasetRef(name=name, digest=digest)


def test_all_ancestors_training_data_counts(session: Session, tmp_path: Path) -> None:
    books, talk = published(session, tmp_path, "books"), published(session, tmp_path, "talk")
    base = record(session, "base", stage="pretrain", datasets=(books, talk))
    tuned = record(
        session, "tuned", stage="sft", datasets=(talk,), parent_digest=base.weights_digest
    )
    copy = record(session, "copy", stage="import", parent_digest=tuned.weights_digest)
    found = training_data(session, copy.weights_digest)
    assert found.unknown is None
    assert found.folders.keys() == {books.digest, talk.digest}
    assert all((folder / "train.jsonl").is_file() for folder in found.folders.values())


def test_training_data_of_an_import_or_of_an_unknown_ancestor_is_not_known(
    session: Session, tmp_path: Path
) -> None:
    imported = record(session, "imported", stage="import")
    found = training_data(session, imported.weights_digest)
    assert "imported came without its datasets" in (found.unknown or "")
    talk = published(session, tmp_path, "talk")
    orphan = record(session, "orphan", stage="sft", datasets=(talk,), parent_digest="sha256:" + 64
                    * "9")  # fmt: skip
    assert "999999999999" in (training_data(session, orphan.weights_digest).unknown or "")
    gone = record(
        session, "gone", stage="pretrain", datasets=(DatasetRef(name="lost", digest="sha256:l"),)
    )
    assert "dataset lost" in (training_data(session, gone.weights_digest).unknown or "")


def test_rows_that_are_no_dataset_yet_become_one_when_they_are_trained_on(
    session: Session, tmp_path: Path
) -> None:
    from commands.train import as_dataset

    write_jsonl(tmp_path / "feedback" / "labels.jsonl", [{"prompt": [], "completion": []}])
    folder = as_dataset(session, tmp_path / "feedback")
    assert as_dataset(session, folder) == folder
    assert [row.uri for row in session.ledger.datasets()] == [str(folder)]
    assert (tmp_path / "feedback" / "labels.jsonl").is_file()
    assert as_dataset(session, tmp_path / "nothing") == tmp_path / "nothing"
