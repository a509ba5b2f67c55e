"""Task files of one's own: names, digests, metrics, and what lm-eval would get wrong."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from eval.checks import CHECKS, LmEvalTaskConfig, lm_eval_task
from eval.gate import load_policy
from eval.measure import entry_digest
from eval.policy import PolicyError
from eval.runner import FakeRunner, RunnerError
from eval.task_files import TaskError, ready_tasks
from registry.evidence import Item

TASK = """\
task: colours
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{options}}"
doc_to_target: "{{right}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: f1, aggregation: f1, higher_is_better: true}
"""


def rows(num: int) -> list[dict[str, Any]]:
    return [
        {"name": f"q{n}", "question": f"Is {n} red?", "options": ["no", "yes!"], "right": n % 2,
         "book": f"book {n // 2}", "kind": "odd" if n % 2 else "even"}
        for n in range(num)
    ]  # fmt: skip


def write(path: Path, some: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in some))
    return path


@pytest.fixture
def task(tmp_path: Path) -> Path:
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    write(folder / "rows.jsonl", rows(6))
    (folder / "colours.yaml").write_text(TASK)
    return folder / "colours.yaml"


def measured(task: Path, runner: FakeRunner | None = None, **more: Any) -> tuple[Item, ...]:
    return lm_eval_task(runner or FakeRunner(), LmEvalTaskConfig(task=task, **more)).items


def refusal(task: Path, **more: Any) -> str:
    with pytest.raises(TaskError) as caught:
        measured(task, **more)
    return str(caught.value).replace(str(task.parent) + "/", "")


def test_items_keep_ids_groups_and_clusters_of_the_named_fields(task: Path) -> None:
    items = measured(task, id_field="name", group_field="kind", cluster_field="book")
    assert [item.key for item in items] == ["q0", "q1", "q2", "q3", "q4", "q5"]
    assert items[3].group == "odd"
    assert items[3].cluster == "book 1"
    assert [item.value for item in items] == [1.0, 0.0] * 3  # the shorter answer costs less
    assert [item.key for item in measured(task)] == ["0", "1", "2", "3", "4", "5"]


def test_a_field_that_documents_do_not_have_is_named_with_those_they_have(task: Path) -> None:
    said = refusal(task, cluster_field="passage")
    assert "no document field named 'passage'; have book, kind, name, options" in said


def test_a_task_may_name_its_fields_itself(task: Path) -> None:
    task.write_text(TASK + "metadata: {id_field: name, cluster_field: book}\n")
    assert (measured(task)[5].key, measured(task)[5].cluster) == ("q5", "book 2")
    assert measured(task, cluster_field="kind")[5].cluster == "odd"


def test_prompts_go_through_the_chat_template_where_asked(task: Path) -> None:
    heard: list[tuple[str, str]] = []

    def score(context: str, continuation: str) -> float:
        heard.append((context, continuation))
        return -1.0

    measured(task, FakeRunner(score=score), chat=True, max_items=1)
    assert heard == [
        ("user: Is 0 red?\nassistant: ", "no"),
        ("user: Is 0 red?\nassistant: ", "yes!"),
    ]


def test_functions_and_includes_beside_the_file_are_used_and_count_in_the_digest(
    task: Path,
) -> None:
    (task.parent / "reading.py").write_text("def ask(doc):\n    return 'Say: ' + doc['question']\n")
    other = task.parent / "other.yaml"
    other.write_text(
        "include: colours.yaml\ntask: other\ndoc_to_text: !function reading.ask\n"
        "output_type: multiple_choice\n"
    )
    heard: list[str] = []

    def score(context: str, continuation: str) -> float:
        heard.append(context)
        return -1.0

    measured(other, FakeRunner(score=score), max_items=1)
    assert heard[0] == "Say: Is 0 red?"
    found = {path.name for path in LmEvalTaskConfig(task=other).files().values()}
    assert found == {"METADATA", "other.yaml", "colours.yaml", "reading.py", "rows.jsonl"}


def digest(task: Path, **more: Any) -> str:
    class Entry:
        name, check, config = "entry", "lm_eval_task", LmEvalTaskConfig(task=task, **more)

    return entry_digest(Entry())[1]


def test_the_digest_is_over_task_and_data_and_not_over_where_they_lie(
    task: Path, tmp_path: Path
) -> None:
    before = digest(task)
    shutil.copytree(task.parent, tmp_path / "moved")
    assert digest(tmp_path / "moved" / "colours.yaml") == before
    alone = tmp_path / "alone.yaml"
    shutil.copy(task, alone)
    assert digest(alone, data=task.parent) == before
    assert digest(task, num_fewshot=0) != before
    write(task.parent / "rows.jsonl", rows(5))
    changed = digest(task)
    assert changed != before
    task.write_text(TASK + "description: Answer.\n")
    assert digest(task) not in (before, changed)


def test_a_policy_finds_a_task_file_beside_it_and_leaves_names_alone(
    task: Path, tmp_path: Path
) -> None:
    text = (
        "name: own\nentries:\n"
        "  - {name: one, check: lm_eval_task, config: {task: TASK}, tier: required, margin: 0.1,\n"
        "     min_items: 1, reason: test, owner: test}\n"
    )

    def bound(named: str) -> Any:
        path = tmp_path / "policy.yaml"
        path.write_text(text.replace("TASK", named))
        return load_policy(path, CHECKS, Path).entries[0].config

    assert bound("benchmarks/colours.yaml").task == task
    assert bound("arc_easy").task == "arc_easy"
    with pytest.raises(PolicyError, match=r"policy\.yaml:3: .*no file .*gone\.yaml"):
        bound("benchmarks/gone.yaml")


def test_the_entries_in_the_documentation_are_entries_of_a_policy(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "gate.md").read_text()
    blocks = [text.split("```")[0] for text in page.split("```yaml\n")[1:]]
    entries = [block for block in blocks if "check: lm_eval_task" in block]
    folder = tmp_path / "ours" / "policies"
    (folder / "tasks").mkdir(parents=True)
    (tmp_path / "shared" / "data").mkdir(parents=True)
    (folder / "tasks" / "medical.yaml").write_text(TASK)
    path = folder / "p.yaml"
    path.write_text("schema_version: 1\nname: p\nentries:\n" + "".join(entries))
    loaded = load_policy(path, CHECKS, Path)
    assert [entry.name for entry in loaded.entries] == ["blimp", "medical"]


def test_planning_counts_the_rows_that_are_measured(task: Path, shared_data: Path) -> None:
    assert LmEvalTaskConfig(task=task).num_items() == 6
    counted = {
        name: LmEvalTaskConfig(task=name, data=shared_data).num_items() for name in ready_tasks()
    }
    assert counted == {  # the sizes that the data sets' papers and folders give
        "blimp": 67000, "hellaswag": 10042, "lambada": 5153, "piqa": 1838, "arc_easy": 2376,
        "arc_challenge": 1172, "boolq": 3270, "winogrande": 1267, "gsm8k": 1319,
    }  # fmt: skip
    with pytest.raises(TaskError, match="only its data says"):
        LmEvalTaskConfig(task="arc_easy").num_items()


# Traps 8 to 10 of lm-eval 0.4.13, for task files; for JSONL kinds see test_eval_harness.py.


def test_data_files_are_looked_up_beside_the_task_and_not_in_the_working_directory(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write(elsewhere / "rows.jsonl", rows(2))  # lm-eval itself would take this one
    cache = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    monkeypatch.chdir(elsewhere)
    assert len(measured(task)) == 6
    assert not cache.exists()
    assert [path.name for path in elsewhere.iterdir()] == ["rows.jsonl"]
    assert [path.name for path in sorted(task.parent.iterdir())] == ["colours.yaml", "rows.jsonl"]


def test_changed_data_is_read_afresh(task: Path) -> None:
    measured(task)
    write(task.parent / "rows.jsonl", rows(3))
    assert len(measured(task)) == 3


def test_a_nan_log_probability_raises_whoever_gives_it(task: Path) -> None:
    with pytest.raises(RunnerError, match="' no' is NaN"):
        measured(task, FakeRunner(score=lambda context, continuation: float("nan")))


def test_items_keep_key_and_content_whatever_the_order_of_rows(task: Path) -> None:
    forwards = measured(task, id_field="name", group_field="kind")
    write(task.parent / "rows.jsonl", rows(6)[::-1])
    backwards = measured(task, id_field="name", group_field="kind")
    assert {item.key: item for item in forwards} == {item.key: item for item in backwards}
    assert [item.key for item in backwards] == ["q5", "q4", "q3", "q2", "q1", "q0"]
    assert len({item.content_hash for item in forwards}) == 6


def test_a_tie_is_not_right_but_two_right_choices_may_tie(task: Path) -> None:
    alike = FakeRunner(score=lambda context, continuation: -1.0)
    result = lm_eval_task(alike, LmEvalTaskConfig(task=task))
    assert [item.value for item in result.items] == [0.0] * 6
    assert result.summary["ties"] == 6
    assert result.tables["lm_eval"]["colours"]["acc,none"] == 0.5  # the first of equals
    both_right = [row | {"right": [0, 1]} for row in rows(2)]
    write(task.parent / "rows.jsonl", both_right)
    task.write_text(TASK.replace('"{{right}}"', "right").partition("  - {metric: f1")[0])
    assert [item.value for item in measured(task, alike)] == [1.0, 1.0]


# Examples.


def test_examples_come_from_the_named_split_and_repeat_with_the_seed(task: Path) -> None:
    write(task.parent / "shots.jsonl", [row | {"question": f"Shot {n}?"}
                                        for n, row in enumerate(rows(30))])  # fmt: skip
    task.write_text(
        TASK.replace("{test: rows.jsonl}", "{test: rows.jsonl, shots: shots.jsonl}")
        + "fewshot_split: shots\n"
    )

    def prompts(seed: int) -> list[str]:
        heard: list[str] = []

        def score(context: str, continuation: str) -> float:
            heard.append(context)
            return -1.0

        measured(task, FakeRunner(score=score), num_fewshot=2, seed=seed)
        return heard

    first = prompts(1)
    assert re.fullmatch(r"Shot \d+\? (no|yes!)\n\nShot \d+\? (no|yes!)\n\nIs 0 red\?", first[0])
    assert prompts(1) == first
    assert prompts(2) != first


def test_a_question_is_never_its_own_example(task: Path) -> None:
    # lm-eval draws from the measured split and leaves the question out in one spelling only
    said = refusal(task, num_fewshot=1)
    assert "1 examples would be drawn from 'test', the split that is measured" in said
    task.write_text(TASK.replace("test_split: test", "validation_split: test\nfewshot_split: test"))
    assert "drawn from 'test'" in refusal(task, num_fewshot=1)
    task.write_text(TASK + "fewshot_split: test\n")
    heard: list[str] = []

    def score(context: str, continuation: str) -> float:
        heard.append(context)
        return -1.0

    measured(task, FakeRunner(score=score), num_fewshot=5)
    assert len(heard) == 12
    assert all(prompt.count(prompt.rpartition("\n\n")[2]) == 1 for prompt in heard)


# Metrics.


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("accuracy", "no metric named 'accuracy'; have acc, f1"),
        ("f1", "f1 is no number per item, it is made over the whole set; have acc"),
    ],
)
def test_a_metric_that_is_no_number_per_item_is_refused_with_those_that_are(
    metric: str, said: str, task: Path
) -> None:
    assert said in refusal(task, metric=metric)


def test_a_metric_that_is_neither_0_nor_1_is_refused_with_item_and_value(task: Path) -> None:
    (task.parent / "scoring.py").write_text("def half(doc, results):\n    return {'part': 0.5}\n")
    task.write_text(
        TASK.partition("metric_list")[0] + "process_results: !function scoring.half\n"
        "metric_list: [{metric: part, aggregation: mean, higher_is_better: true}]\n"
    )
    assert "no metric that is surely 0 or 1 for each item; set metric to one of part" in refusal(
        task
    )
    assert "part of item 0 is 0.5, and the check judges 0 or 1" in refusal(task, metric="part")


# Errors.


def test_rolling_perplexity_is_sent_to_bits_per_byte(task: Path) -> None:
    task.write_text(
        TASK.partition("output_type")[0]
        + "output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: '{{question}}'\n"
        "metric_list: [{metric: word_perplexity}]\n"
    )
    assert "the check bits_per_byte does that" in refusal(task, metric="word_perplexity")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task: [1", "colours.yaml:1: not valid YAML"),
        ("- a\n", "colours.yaml:1: a task file is a mapping"),
        (TASK + "doc_to_txt: x\n", "colours.yaml:12: doc_to_txt: no key named 'doc_to_txt'; have"),
        (TASK.replace("task: colours\n", ""), "colours.yaml: task: is missing"),
        (TASK.replace("task: colours", "group: many\ntask: [a, b]"), "colours.yaml:1: group: is a"),
        (TASK.replace("rows.jsonl", "gone.jsonl"), "colours.yaml:3: dataset_kwargs: no data file"),
        (TASK.replace("rows.jsonl", "s3://x/y"), "data file s3://x/y is not on this machine"),
        (TASK.replace("json\n", ".\n"), "name the files under dataset_kwargs.data_files"),
        (
            TASK.replace("{{question}}", "{{frage}}"),
            "lm-eval cannot build this task: UndefinedError",
        ),
        (TASK.replace("test_split: test", "test_split: exam"), "cannot build this task: KeyError"),
        (TASK.replace("multiple_choice", "essay"), "invalid output_type 'essay'"),
        (TASK + "filter_list: 7\n", "lm-eval cannot build this task: TypeError"),
        ("include: gone.yaml\n", "task file gone.yaml cannot be read"),
        ("include: colours.yaml\n", "include: goes round in a circle"),
    ],
)
def test_a_task_file_that_cannot_be_used_is_named_with_line_and_key(
    text: str, said: str, task: Path
) -> None:
    task.write_text(text)
    assert said in refusal(task)


def test_unknown_names_are_answered_with_what_there_is(task: Path, tmp_path: Path) -> None:
    with pytest.raises(
        TaskError, match="no ready task named 'blimb'; have arc_challenge, arc_easy"
    ):
        LmEvalTaskConfig(task="blimb", data=tmp_path).files()
    with pytest.raises(TaskError, match=r"blimp\.yaml:5: .*no data file .*set data to the folder"):
        LmEvalTaskConfig(task="blimp", data=tmp_path).files()
    assert "no filter named 'strict'; have none" in refusal(task, filter="strict")
    with pytest.raises(ValidationError, match="max_items"):
        LmEvalTaskConfig(task=task, max_items=0)


@pytest.mark.slow  # lm-eval reads ten thousand files to know its catalogue
def test_a_task_of_the_catalogue_says_that_its_data_is_not_to_be_had() -> None:
    with pytest.raises(
        TaskError,
        match=r"task arc_easy of lm-eval's catalogue: its data could not be loaded .*ai2_arc.*"
        r"set task to a local YAML file, or set data to a folder for the ready task arc_easy",
    ):
        lm_eval_task(FakeRunner(), LmEvalTaskConfig(task="arc_easy"))
    with pytest.raises(TaskError, match=r"no task named 'arc_eazy'; near it: .*arc_easy"):
        lm_eval_task(FakeRunner(), LmEvalTaskConfig(task="arc_eazy"))
