"""The audits that a policy can name: one row each, of the same kind as ``eval.checks``."""

from __future__ import annotations

from audit.bbq import BbqBiasConfig, BbqConfig, bbq, bbq_bias, bbq_texts
from audit.completions import ToxicityConfig, prompt_texts, toxicity
from audit.coreference import (
    WinobiasConfig,
    WinogenderConfig,
    WinogeneratedConfig,
    winobias,
    winobias_texts,
    winogender,
    winogender_texts,
    winogenerated,
    winogenerated_texts,
)
from audit.counterfactual import CounterfactualConfig, counterfactual
from audit.pairs import StereotypeConfig, pair_texts, stereotype_pairs
from audit.privacy import ExposureConfig, LeakConfig, canary_exposure, personal_data_leak
from audit.refusal_checks import (
    RefusalConfig,
    harmful_refused,
    harmful_texts,
    harmless_texts,
    over_refusal,
)
from audit.sampled import (
    CompletionConfig,
    HonestConfig,
    completion_toxicity,
    expected_max_toxicity,
    honest_score,
    sampled_texts,
)
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
        name="winobias",
        measure=winobias,
        config=WinobiasConfig,
        kind="binary",
        higher_is_better=False,
        unit="share of pairs",
        bounds=(0.0, 1.0),
        zero="candidate and baseline prefer the pro-stereotyped sentence equally often; a model "
        "without any preference has a share of .5, and so has one that always prefers one pronoun",
        source="Zhao et al. 2018, WinoBias, https://arxiv.org/abs/1804.06876, section 2, with "
        "whole-sentence likelihoods in place of a coreference system",
        texts=winobias_texts,
    ),
    Check(
        name="winogenerated",
        measure=winogenerated,
        config=WinogeneratedConfig,
        kind="binary",
        higher_is_better=False,
        unit="share of sentences",
        bounds=(0.0, 1.0),
        zero="candidate and baseline follow the majority of each occupation equally often; a model "
        "without any preference has a share of .5, one that always prefers one pronoun has a "
        "balanced share of .5",
        source="Perez et al. 2022, Discovering Language Model Behaviors with Model-Written "
        "Evaluations, https://arxiv.org/abs/2212.09251, with shares of the US Bureau of Labor "
        "Statistics 2019",
        texts=winogenerated_texts,
    ),
    Check(
        name="winogender",
        measure=winogender,
        config=WinogenderConfig,
        kind="numeric",
        higher_is_better=False,
        unit="probability",
        bounds=(0.0, 1.0),
        zero="the pronoun's gender never moves the probability of whom the model takes it to "
        "refer to; read the accuracy beside it, for a model that understands nothing may also "
        "change little",
        source="Rudinger et al. 2018, Winogender, https://arxiv.org/abs/1804.09301, asked as in "
        "lm-evaluation-harness 0.4.13, task winogender_all",
        texts=winogender_texts,
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
    Check(
        name="completion_toxicity",
        measure=completion_toxicity,
        config=CompletionConfig,
        kind="rare_harm",
        higher_is_better=False,
        unit="share of prompts",
        bounds=(0.0, 1.0),
        zero="no sample of any prompt reached the scorer's threshold; it grows with the samples of "
        "each prompt, and the scorer's own errors stand beside it",
        source="Gehman et al. 2020, RealToxicityPrompts, https://arxiv.org/abs/2009.11462, "
        "section 3.1 (toxicity probability); prompts of BOLD, HONEST, HolisticBias or ToxiGen",
        texts=sampled_texts,
    ),
    Check(
        name="expected_max_toxicity",
        measure=expected_max_toxicity,
        config=CompletionConfig,
        kind="numeric",
        higher_is_better=False,
        unit="score",
        bounds=(0.0, 1.0),
        zero="the scorer gives every sample of every prompt 0; it grows with the samples of each "
        "prompt, and the scorer's own errors stand beside it",
        source="Gehman et al. 2020, RealToxicityPrompts, https://arxiv.org/abs/2009.11462, "
        "section 3.1 (expected maximum toxicity)",
        texts=sampled_texts,
    ),
    Check(
        name="honest_score",
        measure=honest_score,
        config=HonestConfig,
        kind="numeric",
        higher_is_better=False,
        unit="share of completions",
        bounds=(0.0, 1.0),
        zero="no completion has a word of the lexicon; harmful words that are not in it count as 0",
        source="Nozza et al. 2021, HONEST, https://aclanthology.org/2021.naacl-main.191, section 3",
        texts=sampled_texts,
    ),
    Check(
        name="canary_exposure",
        measure=canary_exposure,
        config=ExposureConfig,
        kind="rare_harm",
        higher_is_better=False,
        unit="share of canaries",
        bounds=(0.0, 1.0),
        zero="no planted secret is as exposed as the threshold says; one that was never seen "
        "has 1.44 bits on average",
        source="Carlini et al. 2019, The Secret Sharer, https://arxiv.org/abs/1802.08232, "
        "section 4",
    ),
    Check(
        name="personal_data_leak",
        measure=personal_data_leak,
        config=LeakConfig,
        kind="rare_harm",
        higher_is_better=False,
        unit="share of answers",
        bounds=(0.0, 1.0),
        zero="no answer holds a planted secret or personal data of the kinds named",
        source="Carlini et al. 2021, Extracting Training Data from Large Language Models, "
        "https://arxiv.org/abs/2012.07805, with planted data",
    ),
    Check(
        name="counterfactual_fairness",
        measure=counterfactual,
        config=CounterfactualConfig,
        kind="contrasts",
        higher_is_better=False,
        unit="difference",
        bounds=(-1.0, 1.0),
        zero="a group's customers are answered as the reference's are to the same questions, on "
        "average over the questions",
        source="Garg et al. 2019, Counterfactual Fairness in Text Classification, "
        "doi:10.1145/3306618.3317950; outcomes of answers as in Huang et al. 2020, "
        "https://arxiv.org/abs/1911.03064",
    ),
    Check(
        name="bbq",
        measure=bbq,
        config=BbqConfig,
        kind="binary",
        higher_is_better=True,
        unit="share right",
        bounds=(0.0, 1.0),
        zero="both checkpoints answer equally many questions rightly; guessing gives a third",
        source="Parrish et al. 2022, BBQ, https://arxiv.org/abs/2110.08193, section 5",
        texts=bbq_texts,
    ),
    Check(
        name="bbq_bias",
        measure=bbq_bias,
        config=BbqBiasConfig,
        kind="numeric",
        higher_is_better=False,
        unit="bias score",
        bounds=(-1.0, 1.0),
        zero="a checkpoint's own 0 is no lean either way, so a negative score is a lean against "
        "the stereotype and no better; between two, both lean equally",
        source="Parrish et al. 2022, BBQ, https://arxiv.org/abs/2110.08193, section 5, s_AMB",
        texts=bbq_texts,
    ),
    Check(
        name="harmful_refused",
        measure=harmful_refused,
        config=RefusalConfig,
        kind="binary",
        higher_is_better=True,
        unit="share declined",
        bounds=(0.0, 1.0),
        zero="candidate and baseline decline equally many harmful requests; a share of 0 declines "
        "none, and an answer that is no refusal need not be of any help",
        source="Roettger et al. 2024, XSTest, https://arxiv.org/abs/2308.01263, the unsafe "
        "contrasts; refusals by phrases as in Zou et al. 2023, https://arxiv.org/abs/2307.15043",
        texts=harmful_texts,
    ),
    Check(
        name="over_refusal",
        measure=over_refusal,
        config=RefusalConfig,
        kind="rare_harm",
        higher_is_better=False,
        unit="share declined",
        bounds=(0.0, 1.0),
        zero="no harmless request was declined; whether it was answered well is not asked",
        source="Roettger et al. 2024, XSTest, https://arxiv.org/abs/2308.01263, the safe prompts; "
        "refusals by phrases as in Zou et al. 2023, https://arxiv.org/abs/2307.15043",
        texts=harmless_texts,
    ),
)
