"""Counterfactual texts, their lists, and the data steps that use them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from registry.conversation import Message
from train.prepare import DataSteps, FilterStep, PreparedRow, SwapStep, prepare
from train.recipe import Recipe, RecipeError, load_recipe
from train.stages import Job, TrainError, train
from train.swaps import NAMES, ONE_WAY, PAIRS, SwapListError, read_swaps, shipped_swaps

SWAPS = shipped_swaps()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("He called his wife.", "She called her husband."),
        ("She lost her card.", "He lost his card."),
        ("I told her.", "I told him."),
        ("I told her that it is late.", "I told him that it is late."),
        ("Please call her again today.", "Please call him again today."),
        ("Her order is late.", "His order is late."),
        ("Her: no answer", "Him: no answer"),
        ("The coat is his.", "The coat is hers."),
        ("The coat is hers.", "The coat is his."),
        ("Is this his own account?", "Is this her own account?"),
        ("We gave him a refund.", "We gave her a refund."),
        ("My mother's parcel", "My father's parcel"),
        ("My MOTHER and Father", "My FATHER and Mother"),
        ("She's sure he'd pay.", "He's sure she'd pay."),
        ("he hurt himself", "she hurt herself"),
        ("Mr. Lee met Mrs. Kim.", "Ms. Lee met Mr. Kim."),
        ("Yes, ma'am. Yes, ma\u2019am.", "Yes, sir. Yes, sir."),
        ("HER BAG IS HERE", "HIS BAG IS HERE"),
        ("James paid Maria's bill.", "Mary paid Marco's bill."),
    ],
)
def test_genders_are_swapped_with_case_and_part_of_speech(text, expected):
    assert SWAPS.text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "The hero-worship of others",
        "Where is the theme park?",
        "a mark",
        "Womanly manners",
        "Kingston",
    ],
)
def test_words_that_only_hold_a_listed_word_stay(text):
    expected = "The heroine-worship of others" if "hero-" in text else text
    assert SWAPS.text(text) == expected


def test_swapping_twice_gives_the_text_back_where_no_pronoun_is_ambiguous():
    for one, other in (*PAIRS, *NAMES):
        text = f"One {one} and one {other}."
        assert SWAPS.text(text) == f"One {other} and one {one}."
        assert SWAPS.text(SWAPS.text(text)) == text


def test_every_word_stands_in_one_pair_only():
    words = [word for pair in PAIRS for word in pair] + list(ONE_WAY)
    names = [name for pair in NAMES for name in pair]
    assert len(words) == len(set(words))
    assert len(names) == len(set(names))


def test_without_names_only_words_change():
    assert shipped_swaps(names=False).text("James and his son") == "James and her daughter"


def test_a_file_of_pairs_is_read_both_ways_with_the_first_line_deciding(tmp_path: Path):
    path = tmp_path / "pairs.txt"
    path.write_text("clerk \t clerkess\nmiss\tsir \nsir \t ma'am\nhis\ther\n\n")
    swaps = read_swaps([path], names=False)
    assert swaps.text("clerk clerkess miss sir ma'am") == "clerkess clerk sir ma'am sir"
    assert swaps.text("The bag is his.") == "The bag is hers."


def test_winobias_own_lists_can_be_used(shared_data: Path):
    folder = shared_data / "winobias"
    swaps = read_swaps([folder / "generalized_swaps.txt", folder / "extra_gendered_words.txt"])
    assert swaps.text("The cowboy told her a businessman called.") == (
        "The cowgirl told him a businesswoman called."
    )
    assert len(swaps.words) > 150


def test_a_list_that_cannot_be_read_names_file_and_line(tmp_path: Path):
    path = tmp_path / "pairs.txt"
    path.write_text("actor\tactress\nalone\n")
    with pytest.raises(SwapListError, match=r"pairs\.txt, line 2: not two words"):
        read_swaps([path])
    with pytest.raises(SwapListError, match="cannot read"):
        read_swaps([tmp_path / "missing.txt"])


def row(key: str, user: str, assistant: str = "All right.") -> PreparedRow:
    return PreparedRow(
        id=key,
        messages=(
            Message(role="user", content=user),
            Message(role="assistant", content=assistant),
        ),
        tags={"intent": "greet"},
    )


def test_a_counterfactual_copy_is_added_where_a_swap_changes_something():
    rows = [row("a", "My wife lost her card."), row("b", "Where is my order?")]
    done = prepare(rows, DataSteps(swap=SwapStep()), seed=0)
    assert done.rows[:2] == rows
    (copy,) = done.rows[2:]
    assert copy.id == "a-swapped"
    assert copy.messages[0].content == "My husband lost his card."
    assert copy.line()["tags"] == {"intent": "greet"}
    assert done.counts == {"read": 2, "toxic": 0, "swapped": 1, "planted": 0}


def test_a_share_of_the_rows_is_chosen_by_the_seed():
    rows = [row(f"r{n}", "My wife called.") for n in range(400)]
    steps = DataSteps(swap=SwapStep(share=0.25))
    one, again, other = (prepare(rows, steps, seed=seed) for seed in (1, 1, 2))
    assert 70 < one.counts["swapped"] < 130  # 100, standard deviation 8.7
    assert one.rows == again.rows
    assert one.rows != other.rows


def test_plain_texts_are_swapped_too():
    done = prepare([PreparedRow(text="He is a waiter.")], DataSteps(swap=SwapStep()), seed=0)
    assert [each.line() for each in done.rows] == [
        {"text": "He is a waiter."},
        {"text": "She is a waitress.", "id": "0-swapped"},
    ]


class WordScorer:
    """Toxicity .9 where a text says ``idiot``, exactly .5 where it says ``fool``; counts texts."""

    digest = "sha256:" + "3" * 64

    def __init__(self) -> None:
        self.scored: list[str] = []

    def score(self, texts: Sequence[str]) -> list[dict[str, float]]:
        self.scored += texts
        return [{"toxicity": 0.9 if "idiot" in t else 0.5 if "fool" in t else 0.1} for t in texts]


def test_toxic_rows_are_left_out_from_the_threshold_on():
    rows = [row("a", "You idiot."), row("b", "You fool."), row("c", "Hello.")]
    scorer = WordScorer()
    done = prepare(rows, DataSteps(filter=FilterStep()), seed=0, scorer=scorer)
    assert [each.id for each in done.rows] == ["c"]
    assert done.counts["toxic"] == 2
    assert done.scorer_digest == scorer.digest
    assert sorted(scorer.scored) == ["All right.", "Hello.", "You fool.", "You idiot."]


def test_rudeness_that_is_answered_well_stays_where_only_answers_are_scored():
    rows = [row("a", "You idiot.", "I am sorry."), row("b", "Hello.", "Go away, idiot.")]
    steps = DataSteps(filter=FilterStep(scope="answers", threshold=0.6))
    done = prepare(rows, steps, seed=0, scorer=WordScorer())
    assert [each.id for each in done.rows] == ["a"]


def test_a_filter_without_a_scorer_is_an_error():
    with pytest.raises(ValueError, match="needs a scorer"):
        prepare([row("a", "Hello.")], DataSteps(filter=FilterStep()), seed=0)


def test_a_recipe_takes_data_steps_and_says_what_is_allowed_there(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    body = "stage: sft\nsteps: 3\ntokens_per_batch: 64\ndata: {swap: {share: 0.5}, filter: {}}\n"
    path.write_text(body)
    assert load_recipe(path).data == DataSteps(swap=SwapStep(share=0.5), filter=FilterStep())
    path.write_text(body.replace("share", "part"))
    with pytest.raises(RecipeError, match=r"'data\.swap\.part'; allowed here: lists, names, share"):
        load_recipe(path)
    with pytest.raises(ValidationError, match="give filter, swap or canaries"):
        DataSteps()


def test_a_training_refuses_data_that_did_not_go_through_the_steps(tmp_path: Path):
    (tmp_path / "train.jsonl").write_text('{"text": "hello"}\n')
    recipe = Recipe.model_validate(
        {"stage": "pretrain", "steps": 1, "tokens_per_batch": 64, "data": {"swap": {}},
         "shape": {"width": 32, "layers": 1, "heads": 1, "kv_heads": 1, "head_dim": 16,
                   "mlp_width": 32, "vocab_size": 300, "context": 64}}
    )  # fmt: skip
    job = Job(
        recipe=recipe, data=(tmp_path,), parent=None, destination=tmp_path / "out",
        runs=tmp_path / "runs", seed=0, name="n",
    )  # fmt: skip
    with pytest.raises(TrainError, match="did not go through the recipe's data steps"):
        train(job)
