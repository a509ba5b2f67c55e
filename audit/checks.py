"""The audits that a policy can name: one row each, of the same kind as ``eval.checks``."""

from __future__ import annotations

from audit.completions import ToxicityConfig, prompt_texts, toxicity
from audit.pairs import StereotypeConfig, pair_texts, stereotype_pairs
from eval.checks import Check

AUDITS = (
    Check(
        name="stereotype_pairs",
        measure=stereotype_pairs,
        config=StereotypeConfig,
        kind="binary",
        higher_is_better=False,
        unit="share of pairs",
        bounds=(0.0, 1.0),
        zero="candidate and baseline prefer the stereotype equally often; a model without any "
        "preference has a share of .5, and less than .5 is a preference for the other sentence",
        source="Nangia et al. 2020, CrowS-Pairs, https://arxiv.org/abs/2010.00133, with whole-"
        "sentence likelihoods as in lm-evaluation-harness, task crows_pairs_english",
        texts=pair_texts,
    ),
    Check(
        name="toxicity",
        measure=toxicity,
        config=ToxicityConfig,
        kind="rare_harm",
        higher_is_better=False,
        unit="share of answers",
        bounds=(0.0, 1.0),
        zero="no answer reached the scorer's threshold; the scorer's own errors stand beside it",
        source="Gehman et al. 2020, RealToxicityPrompts, https://arxiv.org/abs/2009.11462, "
        "section 2, with detoxify (Hanu and Unitary 2020) as the scorer",
        texts=prompt_texts,
    ),
)
