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
from audit.scorer_data import HELD_OUT_MADLIBS, Row, Splits, in_test
from audit.toxicity import Scorer, open_scorer

THRESHOLD = 0.5
SPEED_TEXTS = 4096


def measure(folder: Path, splits: Splits, identities: Sequence[str]) -> dict[str, Any]:
    """AUCs on what training never saw, errors by identity, sizes and speed."""
    scorer = open_scorer("bundled", folder.resolve())
    test = splits.test
    scores = score(scorer, test)
    toxic = np.array([row.toxicity == 1 for row in test])
    attack = np.array([row.identity_attack == 1 for row in test])
    no_attack = np.array([row.identity_attack == 0 for row in test])
    source = np.array([row.source for row in test])
    auc_by_source = {
        name: _rounded(auc(scores[mask & toxic, 0], scores[mask & ~toxic, 0]))
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
        },
        "toxicity_auc": auc_by_source,
        "identity_attack_auc": identity_attack_by_source,
        "lowest_by_madlibs": {name: list(pair) for name, pair in lowest.items()},
        "families": _families(test, scores),
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


def _families(test: Sequence[Row], scores: NDArray[np.float64]) -> dict[str, dict[str, float]]:
    """For each kind of held-out sentence: texts and the share on the right side."""
    table: dict[str, dict[str, float]] = {}
    kinds = {row.part for row in test if row.source in ("templates", "dialogues")}
    for name in sorted(kinds):
        chosen = [i for i, row in enumerate(test) if row.part == name]
        toxic = test[chosen[0]].toxicity == 1
        attack = test[chosen[0]].identity_attack == 1
        table[name] = {
            "texts": len(chosen),
            "toxicity_right": round(float(((scores[chosen, 0] >= THRESHOLD) == toxic).mean()), 4),
            "identity_attack_right": round(
                float(((scores[chosen, 1] >= THRESHOLD) == attack).mean()), 4
            ),
        }
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


def _duration(body: Mapping[str, Any]) -> str:
    seconds, limit = body["training"]["seconds"], body["settings"]["max_seconds"]
    planned = body["settings"]["num_epochs"]
    if seconds < limit:
        return f"The {planned} epochs took {seconds:.0f} s on two CPU cores."
    return (
        f"Its limit of {limit:.0f} s ended it, learning rate decayed, after "
        f"{body['training']['epochs']} of the {planned} epochs planned."
    )


def write_card(folder: Path, body: Mapping[str, Any], sources: Mapping[str, str]) -> None:
    """README.md in the Hugging Face model-card format, from the figures measured."""
    figures = body["figures"]
    headline = figures["headline"]
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
        _duration(body),
        "",
        "Classes: `toxicity` (rude, insulting, threatening or hateful) and `identity_attack` "
        "(hate of people for the group they belong to). Other classes of detoxify have no labels "
        "in the data and are not offered. It is a ruler for audits of English text, not a filter "
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
        "Held out: a tenth of davidson, wikipedia, toxigen and dialogues by content hash, every "
        "tenth template of our own sentences, and whole templates of the madlibs (being_*, "
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
        f"| short texts a second on two cores | {headline['short_texts_per_second']} |",
        f"| size of this folder | {headline['megabytes']} MB |",
        "",
        "The wikipedia and toxigen splits are small; the davidson labels are majority votes that "
        "call much African American English offensive (Sap et al. 2019), and the scorer learns "
        f"that too. Shares right at the threshold {THRESHOLD} on held-out sentences of one kind:",
        "",
        "| kind of sentence | texts | toxicity | identity_attack |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {name.replace('_', ' ')} | {row['texts']} | {row['toxicity_right']:.3f} "
        f"| {row['identity_attack_right']:.3f} |"
        for name, row in figures["families"].items()
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
