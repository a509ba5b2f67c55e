"""Readers of the published prompt sets: what is continued, by whom it is about, and how cut."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from audit import holistic_bias
from audit.holistic_bias import HolisticBiasError, article
from audit.prompt_sets import (
    Prompt,
    PromptsError,
    SetName,
    files_of,
    read_lexicon,
    read_prompts,
)


def write_bold(folder: Path) -> Path:
    """BOLD's layout with one domain: two groups, three entities, five prompts."""
    (folder / "prompts").mkdir(parents=True)
    (folder / "wikipedia").mkdir()
    prompts = {
        "sailors": {"Ann_Lee": ["Ann Lee is a ", "In 1999 Ann Lee sailed "], "Bo": ["Bo is "]},
        "bakers": {"Cy": ["Cy baked ", "Cy sold "]},
    }
    articles = {
        "sailors": {
            "Ann_Lee": ["Ann Lee is a sailor.", "In 1999 Ann Lee sailed home."],
            "Bo": ["Bo is tall."],
        },
        "bakers": {"Cy": ["Cy baked bread.", "Somebody else sold it."]},
    }
    (folder / "prompts" / "trades_prompt.json").write_text(json.dumps(prompts))
    (folder / "wikipedia" / "trades_wiki.json").write_text(json.dumps(articles))
    return folder


def write_holistic_bias(folder: Path) -> Path:
    folder.mkdir(parents=True)
    contents = {
        "descriptors": {
            "age": {"old": ["elderly"], "young": [{"descriptor": "young"}]},
            "origin": {
                "all": ["European", {"descriptor": "US-born", "article": "a"}],
                "more": [{"descriptor": "Filipina", "gender": "female"}],
            },
        },
        "nouns": {"female": [["woman", "women"]], "neutral": [["individual", "individuals"]]},
        "sentence_templates": {
            "I'm {noun_phrase}.": {},
            "I like {plural_noun_phrase}.": {"must_be_noun": True},
        },
        "standalone_noun_phrases": {
            "age": [
                {
                    "noun_phrase": "{article} {noun} who is retired",
                    "plural_noun_phrase": "{article} {noun} who are retired",
                },
                "{article} {noun} with many years",
                {"noun_phrase": "a youth", "plural_noun_phrase": "youths"},
            ]
        },
    }
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def write_lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_bold_gives_prompt_entity_group_and_what_people_wrote(tmp_path: Path) -> None:
    first, *_, last = read_prompts("bold", write_bold(tmp_path / "bold"))
    assert first == Prompt(
        key="trades/sailors/Ann_Lee/0",
        text="Ann Lee is a",
        axis="trades",
        group="sailors",
        cluster="trades/Ann_Lee",
        human="sailor.",
    )
    assert last.text == "Cy sold"
    assert last.human is None  # the article does not begin with the prompt


def test_bold_takes_one_prompt_file_too(tmp_path: Path) -> None:
    path = write_bold(tmp_path / "bold") / "prompts" / "trades_prompt.json"
    assert len(read_prompts("bold", path)) == 5
    assert files_of("bold", path) == {"trades_prompt.json": path}


def test_a_folder_that_is_not_bolds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PromptsError, match=r"no prompts/\*_prompt\.json"):
        read_prompts("bold", tmp_path)


def test_honest_is_cut_at_the_gap(tmp_path: Path) -> None:
    path = tmp_path / "template.tsv"
    path.write_text(
        "template_masked\traw\tidentity\tnumber\tcategory\ttype\n"
        "the woman works as a [M].\t[I] works as a [M]\tthe woman\tsingular\tfemale\toccupation\n"
    )
    [prompt] = read_prompts("honest", path)
    assert (prompt.text, prompt.group, prompt.cluster) == (
        "the woman works as a", "female", "[I] works as a [M]",
    )  # fmt: skip


def test_a_template_that_goes_on_after_its_gap_is_refused_by_row(tmp_path: Path) -> None:
    path = tmp_path / "template.tsv"
    path.write_text("template_masked\traw\tcategory\nthe [M] woman\tx\tfemale\n")
    with pytest.raises(PromptsError, match=r"row 1: a template ends in \[M\]"):
        read_prompts("honest", path)


def test_holistic_bias_has_plurals_articles_and_the_nouns_of_a_descriptors_gender(
    tmp_path: Path,
) -> None:
    folder = write_holistic_bias(tmp_path / "hb")
    texts = [s.text for s in holistic_bias.sentences(folder, per_axis=None, seed=0)]
    assert texts == [
        "I'm elderly.",
        "I'm an elderly woman.", "I like elderly women.",
        "I'm an elderly individual.", "I like elderly individuals.",
        "I'm young.",
        "I'm a young woman.", "I like young women.",
        "I'm a young individual.", "I like young individuals.",
        "I'm a woman who is retired.", "I like women who are retired.",
        "I'm an individual who is retired.", "I like individuals who are retired.",
        "I'm a woman with many years.", "I like women with many years.",
        "I'm an individual with many years.", "I like individuals with many years.",
        "I'm a youth.", "I like youths.",
        "I'm European.",
        "I'm a European woman.", "I like European women.",
        "I'm a European individual.", "I like European individuals.",
        "I'm US-born.",
        "I'm a US-born woman.", "I like US-born women.",
        "I'm a US-born individual.", "I like US-born individuals.",
        "I'm Filipina.",
        "I'm a Filipina woman.", "I like Filipina women.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("European", "a"), ("Unitarian", "a"), ("one-percenter", "a"), ("US-born", "a"),
        ("unemployed", "an"), ("undocumented", "an"), ("AAPI", "an"), ("Hispanic", "a"),
        ("old", "an"), ("urban", "an"), ("individual", "an"),
    ],
)  # fmt: skip
def test_the_article_follows_the_sound(phrase: str, expected: str) -> None:
    assert article(phrase) == expected


def test_the_same_seed_draws_the_same_sentences_and_another_seed_others(tmp_path: Path) -> None:
    folder = write_holistic_bias(tmp_path / "hb")

    def draw(seed: int) -> list[str]:
        return [prompt.text for prompt in read_prompts("holistic_bias", folder, max_prompts=12,
                                                       seed=seed)]  # fmt: skip

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert len(set(draw(1))) == 12


def test_a_folder_without_holistic_bias_says_which_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(HolisticBiasError, match=r"nouns\.json"):
        read_prompts("holistic_bias", tmp_path)


def test_real_toxicity_prompts_are_rated_by_their_own_score(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "rtp.jsonl",
        {"prompt": {"text": "a ", "toxicity": 0.5}, "continuation": {"text": " b"},
         "challenging": True},
        {"prompt": {"text": "c", "toxicity": 0.49}, "challenging": False},
        {"prompt": {"text": "d", "toxicity": None}},
    )  # fmt: skip
    prompts = read_prompts("real_toxicity_prompts", path)
    assert [(p.text, p.axis, p.group, p.human) for p in prompts] == [
        ("a", "toxic", "challenging", "b"),
        ("c", "non-toxic", "ordinary", None),
        ("d", "unrated", "ordinary", None),
    ]


@pytest.mark.parametrize("line", ['{"text": "a"}', '{"prompt": "a"}', "[]", "not JSON"])
def test_a_line_in_another_form_is_refused_by_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rtp.jsonl"
    path.write_text('{"prompt": {"text": "fine", "toxicity": 0.1}}\n' + line + "\n")
    with pytest.raises(PromptsError, match="line 2"):
        read_prompts("real_toxicity_prompts", path)


def test_toxigens_lists_get_their_lines_back(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "toxigen.jsonl",
        {"group": "women", "label": "neutral", "prompt": "- one\\n- two\\n-"},
    )
    [prompt] = read_prompts("toxigen", path)
    assert (prompt.text, prompt.axis, prompt.group) == ("- one\n- two\n-", "neutral", "women")


def test_a_cut_takes_groups_in_turns_and_does_not_depend_on_the_order_of_the_file(
    tmp_path: Path,
) -> None:
    rows = [
        {"group": group, "label": label, "prompt": f"- {label} {group} {number}"}
        for label in ("hate", "neutral")
        for group, size in (("a", 40), ("b", 3))
        for number in range(size)
    ]
    forward = write_lines(tmp_path / "forward.jsonl", *rows)
    prompts = read_prompts("toxigen", forward, max_prompts=20)
    assert Counter((p.axis, p.group) for p in prompts) == {
        ("hate", "a"): 7, ("hate", "b"): 3, ("neutral", "a"): 7, ("neutral", "b"): 3,
    }  # fmt: skip
    assert read_prompts("toxigen", forward, max_prompts=20, seed=1) != prompts


def test_axes_and_groups_are_chosen_by_name_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    folder = write_bold(tmp_path / "bold")
    assert {p.group for p in read_prompts("bold", folder, groups=("bakers",))} == {"bakers"}
    with pytest.raises(PromptsError, match="no axis named 'trade'; have trades"):
        read_prompts("bold", folder, axes=("trade",))


def test_a_lexicon_is_hurtlex_or_a_word_on_each_line(tmp_path: Path) -> None:
    hurtlex = tmp_path / "hurtlex_EN.tsv"
    hurtlex.write_text(
        "id\tpos\tcategory\tstereotype\tlemma\tlevel\n"
        "1\tn\tan\tno\tPig\tconservative\n2\tn\tan\tno\tdove\tinclusive\n"
    )
    assert read_lexicon(hurtlex) == {"pig"}
    plain = tmp_path / "words.txt"
    plain.write_text("Pig\n\nold goat\n")
    assert read_lexicon(plain) == {"pig", "old goat"}
    plain.write_text("\n")
    with pytest.raises(PromptsError, match="holds no word"):
        read_lexicon(plain)


@pytest.mark.parametrize(
    ("name", "file", "prompts", "axes", "groups"),
    [
        # Dhamala et al. 2021, abstract: 23,679 prompts in five domains; five are empty
        ("bold", "bold", 23679 - 5, 5, 43),
        ("honest", "honest/binary_en_template.tsv", 810, 1, 2),
        ("honest", "honest/queer_nonqueer_en_template.tsv", 705, 1, 8),
        ("toxigen", "toxigen/prompts_first100.jsonl.gz", 3100, 2, 31),
    ],
)
def test_the_published_sets_are_read_whole(
    shared_data: Path, name: SetName, file: str, prompts: int, axes: int, groups: int
) -> None:
    found = read_prompts(name, shared_data / file)
    assert len({p.key for p in found}) == len(found) == prompts
    assert len({p.axis for p in found}) == axes
    assert len({(p.axis, p.group) for p in found}) == groups
    assert all(p.text and p.text == p.text.rstrip() for p in found)


def test_what_wikipedia_says_is_there_for_bolds_three_domains(shared_data: Path) -> None:
    found = read_prompts("bold", shared_data / "bold")
    with_human = Counter(p.axis for p in found if p.human)
    assert with_human == {"gender": 3204, "race": 7657, "religious_ideology": 637}


def test_holistic_bias_gives_as_many_sentences_on_each_of_its_13_axes(shared_data: Path) -> None:
    prompts = read_prompts("holistic_bias", shared_data / "holistic_bias", max_prompts=130)
    assert set(Counter(p.axis for p in prompts).values()) == {10}
    assert len({p.axis for p in prompts}) == 13
    assert len({p.key for p in prompts}) == 130
    assert not [p.text for p in prompts if "{" in p.text or "  " in p.text]
