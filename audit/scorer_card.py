"""Figures of a trained scorer, through the adapter that the audits use, and its model card."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.ruler import IdentityRow, auc, by_identity
from audit.scorer_data import HELD_OUT_MADLIBS, NEW_WORDS, Row, Splits, in_test
from audit.scorer_sentences import JOINED, TRICKS, misspell
from audit.toxicity import Scorer, open_scorer

THRESHOLD = 0.5
SPEED_TEXTS = 4096
SPELLING_STEP = 4


def measure(
    folder: Path, splits: Splits, identities: Sequence[str], assistant_turns: Sequence[str]
) -> dict[str, Any]:
    """AUCs on what training never saw, errors by identity, functional suite, sizes and speed."""
    scorer = open_scorer("bundled", folder.resolve())
    test = splits.test
    scores = score(scorer, test)
    turns = score(scorer, [Row(text, 0, 0, "dialogues") for text in assistant_turns])
    false_positives = [round(float(share), 4) for share in (turns >= THRESHOLD).mean(axis=0)]
    toxic = np.array([row.toxicity == 1 for row in test])
    harmless = np.array([row.toxicity == 0 for row in test])
    attack = np.array([row.identity_attack == 1 for row in test])
    no_attack = np.array([row.identity_attack == 0 for row in test])
    source = np.array([row.source for row in test])
    auc_by_source = {
        name: _rounded(auc(scores[mask & toxic, 0], scores[mask & harmless, 0]))
        for name in sorted(set(source))
        for mask in [source == name]
    }
    identity_attack_by_source = {
        name: _rounded(auc(scores[mask & attack, 1], scores[mask & no_attack, 1]))
        for name in sorted(set(source))
        for mask in [source == name]
        if (mask & attack).any()
    }
    madlibs = {
        "bias_madlibs_77k": [row for row in splits.madlibs if row.part in HELD_OUT_MADLIBS],
        "intersectional_madlibs": [
            row
            for row in splits.madlibs
            if row.part not in HELD_OUT_MADLIBS and in_test(row.text, 25)
        ],
    }
    tables = {name: _identity_table(scorer, rows, identities) for name, rows in madlibs.items()}
    lowest = {name: _lowest(table) for name, table in tables.items()}
    return {
        "headline": {
            "davidson_auc": auc_by_source["davidson"],
            "lowest_identity_auc": min(value for _, value in lowest.values()),
            "short_texts_per_second": _speed(scorer, test),
            "megabytes": round(sum(f.stat().st_size for f in folder.iterdir()) / 1e6, 2),
            **functional_summary(test, scores),
            "assistant_turns_called_toxic": false_positives[0],
        },
        "assistant_turns": {
            "texts": len(assistant_turns),
            "toxicity": false_positives[0],
            "identity_attack": false_positives[1],
        },
        "toxicity_auc": auc_by_source,
        "identity_attack_auc": identity_attack_by_source,
        "lowest_by_madlibs": {name: list(pair) for name, pair in lowest.items()},
        "functional": functional_table(test, scores),
        "harmless": _harmless(test, scores),
        "spelling": _spelling(scorer, test),
        "identities": {name: [_identity(row) for row in table] for name, table in tables.items()},
    }


def score(scorer: Scorer, rows: Sequence[Row]) -> NDArray[np.float64]:
    """Array of shape (rows, 2): toxicity and identity_attack."""
    found = scorer.score([row.text for row in rows])
    return np.array([[one["toxicity"], one["identity_attack"]] for one in found])


def _identity_table(
    scorer: Scorer, rows: Sequence[Row], identities: Sequence[str]
) -> list[IdentityRow]:
    scores = score(scorer, rows)[:, 0]
    labels = np.array([row.toxicity == 1 for row in rows])
    return by_identity([row.text for row in rows], labels, scores, identities, threshold=THRESHOLD)


def _lowest(table: Sequence[IdentityRow]) -> tuple[str, float]:
    known = [(row.identity, row.lowest) for row in table if row.lowest is not None]
    identity, value = min(known, key=lambda pair: pair[1])
    return identity, round(value, 4)


def _identity(row: IdentityRow) -> dict[str, Any]:
    return {
        key: _rounded(value) if isinstance(value, float) else value
        for key, value in asdict(row).items()
    }


def functional_table(
    test: Sequence[Row], scores: NDArray[np.float64]
) -> dict[str, dict[str, dict[str, float | None]]]:
    """For each family of the functional suite, with words of training and with new ones: the
    number of texts and the share on the right side of the threshold, for each class.

    None where the family has no label for the class.
    """
    table: dict[str, dict[str, dict[str, float | None]]] = {}
    for part in dict.fromkeys(row.part for row in test if row.source == "templates"):
        chosen = [i for i, r in enumerate(test) if (r.source, r.part) == ("templates", part)]
        labels = (test[chosen[0]].toxicity, test[chosen[0]].identity_attack)
        right = [
            None if label is None else float(((scores[chosen, k] >= THRESHOLD) == label).mean())
            for k, label in enumerate(labels)
        ]
        words = "new words" if part.endswith(NEW_WORDS) else "words of training"
        table.setdefault(part.removesuffix(NEW_WORDS), {})[words] = {
            "texts": len(chosen),
            "toxicity": _rounded(right[0]),
            "identity_attack": _rounded(right[1]),
        }
    return table


def functional_summary(test: Sequence[Row], scores: NDArray[np.float64]) -> dict[str, float]:
    """Shares over the functional suite's held-out frames; ``_new_words`` with words held out too.

    ``hate_found`` is the share of hate of a group that either class puts over the threshold;
    ``not_toxic`` of harmless sentences that neither does; ``no_identity_attack`` of all that is
    no hate of a group, insults and profanity included, below it by identity_attack.
    """
    found: dict[str, float] = {}
    flagged = scores >= THRESHOLD
    for ending, new in (("", False), ("_new_words", True)):
        own = np.array(
            [r.source == "templates" and r.part.endswith(NEW_WORDS) == new for r in test]
        )
        hate = own & np.array([row.identity_attack == 1 for row in test])
        harmless = own & np.array([row.toxicity == 0 for row in test])
        found[f"hate_found{ending}"] = round(float(flagged[hate].any(axis=1).mean()), 4)
        found[f"not_toxic{ending}"] = round(1 - float(flagged[harmless].any(axis=1).mean()), 4)
        found[f"no_identity_attack{ending}"] = round(1 - float(flagged[own & ~hate, 1].mean()), 4)
    return found


def _harmless(test: Sequence[Row], scores: NDArray[np.float64]) -> dict[str, dict[str, float]]:
    """Held-out texts of the sources that are harmless throughout, and shares called otherwise."""
    table: dict[str, dict[str, float]] = {}
    for source in ("dialogues", "banking", "everyday", "blimp", "synth"):
        chosen = [i for i, row in enumerate(test) if row.source == source]
        shares = (scores[chosen] >= THRESHOLD).mean(axis=0)
        table[source] = {
            "texts": len(chosen),
            "toxicity": round(float(shares[0]), 4),
            "identity_attack": round(float(shares[1]), 4),
        }
    return table


def _spelling(scorer: Scorer, test: Sequence[Row]) -> dict[str, dict[str, float]]:
    """For each spelling trick, shares right by toxicity on hate and on harmless sentences.

    The sentences are those of held-out frames with words of training; "none" is as written.
    """
    own = [r for r in test if r.source == "templates" and not r.part.endswith(NEW_WORDS)]
    sides = {
        "hate_found": [row for row in own if row.identity_attack == 1][::SPELLING_STEP],
        "not_toxic": [row for row in own if row.toxicity == 0][::SPELLING_STEP],
    }
    table: dict[str, dict[str, float]] = {}
    for trick in ("none", *TRICKS, JOINED):
        rng = np.random.default_rng(0)
        table[trick] = {}
        for side, rows in sides.items():
            texts = [
                row.text if trick == "none" else misspell(row.text, rng, trick) for row in rows
            ]
            flagged = [one["toxicity"] >= THRESHOLD for one in scorer.score(texts)]
            share = float(np.mean(flagged))
            table[trick][side] = round(share if side == "hate_found" else 1 - share, 4)
    return table


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _speed(scorer: Scorer, rows: Sequence[Row]) -> int:
    """Texts a second over the held-out texts of at most 25 words, repeated."""
    short = [row.text for row in rows if len(row.text.split()) <= 25]
    texts = (short * (SPEED_TEXTS // len(short) + 1))[:SPEED_TEXTS]
    scorer.score(texts[:256])
    started = time.perf_counter()
    scorer.score(texts)
    return round(SPEED_TEXTS / (time.perf_counter() - started))


def _functional(figures: Mapping[str, Any]) -> list[str]:
    """The card's tables of shares right at the threshold."""
    headline, turns = figures["headline"], figures["assistant_turns"]
    lines = [
        f"## Functional suite: shares right at the threshold {THRESHOLD}",
        "",
        "Sentences of our own after the functionalities of HateCheck (Roettger et al. 2021), none "
        "of whose cases were used. Every frame is held out; in the columns *new words* so are the "
        "groups, and the words wherever a list has held-out ones. A dash is a class without a "
        "label.",
        "",
        "| kind of sentence | texts | toxicity | identity_attack | toxicity, new words "
        "| identity_attack, new words |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in figures["functional"].items():
        cells = [
            "-" if one[label] is None else f"{one[label]:.3f}"
            for one in (row["words of training"], row["new words"])
            for label in ("toxicity", "identity_attack")
        ]
        texts = row["words of training"]["texts"] + row["new words"]["texts"]
        lines.append(f"| {name.replace('_', ' ')} | {texts} | {' | '.join(cells)} |")
    lines += ["", "| over the suite | words of training | new words |", "|---|---|---|"]
    lines += [
        f"| {title} | {headline[key]:.3f} | {headline[key + '_new_words']:.3f} |"
        for key, title in (
            ("hate_found", "hate of a group found by either class"),
            ("not_toxic", "harmless sentences that neither class calls otherwise"),
            ("no_identity_attack", "not hate of a group, and not called identity_attack"),
        )
    ]
    lines += [
        "",
        "## Harmless texts of others, and the share called otherwise",
        "",
        "| texts | number | toxicity | identity_attack |",
        "|---|---|---|---|",
        f"| assistants' turns, SGD test split | {turns['texts']} | {turns['toxicity']:.4f} "
        f"| {turns['identity_attack']:.4f} |",
    ]
    lines += [
        f"| {name}, held out | {row['texts']} | {row['toxicity']:.4f} "
        f"| {row['identity_attack']:.4f} |"
        for name, row in figures["harmless"].items()
    ]
    lines += [
        "",
        "## Spelling tricks on one word: shares right by toxicity",
        "",
        "| trick | hate | harmless |",
        "|---|---|---|",
    ]
    lines += [
        f"| {name} | {row['hate_found']:.3f} | {row['not_toxic']:.3f} |"
        for name, row in figures["spelling"].items()
    ]
    return lines


def write_card(folder: Path, body: Mapping[str, Any], sources: Mapping[str, str]) -> None:
    """README.md in the Hugging Face model-card format, from the figures measured."""
    figures = body["figures"]
    headline = figures["headline"]
    threads = body["training"]["threads"]
    lines = [
        "---",
        "license: apache-2.0",
        "language: en",
        "pipeline_tag: text-classification",
        "tags: [toxicity, detoxify]",
        "---",
        "# Hallmark's bundled toxicity scorer",
        "",
        "A compact BERT for multi-label classification in detoxify's checkpoint format, trained "
        "from scratch by",
        "",
        "    python -m audit.train_scorer --data DATA --out audit/scorer",
        "",
        f"The {body['settings']['num_epochs']} epochs took {body['training']['seconds']:.0f} s "
        f"with {threads} thread(s). Another training gives other weights: the tokenizer's library "
        "numbers single letters in another order each time, and another number of threads sums in "
        "another. Two trainings' figures differed by up to .02, the lowest AUC of an identity by "
        ".03.",
        "",
        "Classes: `toxicity` (rude, insulting, threatening or hateful) and `identity_attack` "
        "(hate of people for the group they belong to). Other classes of detoxify have no labels "
        "in the data and are not offered. Profanity without a target ('this is fucking great') is "
        "offensive language in davidson's labels and may score as toxicity; it is no "
        "identity_attack. It is a ruler for audits of English text, not a filter "
        "for people: it errs, as below, and says nothing about who wrote a text.",
        "",
        "## Data",
        "",
        "| source | training texts | licence |",
        "|---|---|---|",
    ]
    for name, count in body["training"]["sources"].items():
        lines.append(f"| {name} | {count} | {sources[name]} |")
    lines += [
        "",
        "The counts are of distinct texts; an epoch sees each source as often as `shares` in "
        "figures.json says. Held out: a tenth of every public source by content hash, SGD's whole "
        "test split, every eighth template and clause of our own sentences together with nine "
        "groups and an eighth of the rarer words, and whole templates of the madlibs (being_*, "
        "you_are_*, am_*, hate_*; trained on name_adj, verb_adj and you_occupation; a quarter of "
        "the intersectional ones is scored).",
        "",
        "## Figures on held-out texts",
        "",
        "| figure | value |",
        "|---|---|",
        f"| AUC toxicity, davidson (hate or offensive against neither) "
        f"| {headline['davidson_auc']:.4f} |",
    ]
    lines += [
        f"| AUC toxicity, {name} | {value:.4f} |"
        for name, value in figures["toxicity_auc"].items()
        if name != "davidson" and value is not None
    ]
    lines += [
        f"| AUC identity_attack, {name} | {value:.4f} |"
        for name, value in figures["identity_attack_auc"].items()
        if value is not None
    ]
    lines += [
        f"| lowest of subgroup, BPSN and BNSP AUC over identities, {name} "
        f"| {value:.4f} ({identity}) |"
        for name, (identity, value) in figures["lowest_by_madlibs"].items()
    ]
    lines += [
        f"| short texts a second on {threads} thread(s) | {headline['short_texts_per_second']} |",
        f"| size of this folder | {headline['megabytes']} MB |",
        "",
        "The wikipedia and toxigen splits are small; the davidson labels are majority votes that "
        "call much African American English offensive (Sap et al. 2019), and the scorer learns "
        "that too.",
        "",
        *_functional(figures),
    ]
    for name, table in figures["identities"].items():
        lines += [
            "",
            f"## Error by identity: {name}, held-out templates, threshold {THRESHOLD}",
            "",
            "| identity | toxic | harmless | subgroup AUC | BPSN AUC | BNSP AUC "
            "| false positives | false negatives |",
            "|---|---|---|---|---|---|---|---|",
        ]
        keys = (
            "subgroup_auc", "bpsn_auc", "bnsp_auc", "false_positive_rate", "false_negative_rate",
        )  # fmt: skip
        for row in table:
            cells = " | ".join("-" if row[k] is None else f"{row[k]:.3f}" for k in keys)
            lines.append(f"| {row['identity']} | {row['toxic']} | {row['harmless']} | {cells} |")
    (folder / "README.md").write_text("\n".join(lines) + "\n")
