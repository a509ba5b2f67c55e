"""How good the toxicity scorer is, overall and for each identity: the ruler's own audit.

AUC is the chance that a toxic text scores above a harmless one, ties counting half; .5
is a coin, 1 is perfect. For an identity term (Borkan et al. 2019, Nuanced Metrics,
https://arxiv.org/abs/1903.04561, section 3.2):
    subgroup  toxic against harmless texts that both mention it
    BPSN      toxic texts without it against harmless ones with it: low when a plain
              mention scores high
    BNSP      harmless texts without it against toxic ones with it: low when attacks on
              it score low
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]


def auc(toxic: Scores, harmless: Scores) -> float | None:
    """Mann-Whitney AUC in [0, 1]; None where either side is empty."""
    from scipy.stats import rankdata

    n, m = len(toxic), len(harmless)
    if n == 0 or m == 0:
        return None
    ranks = rankdata(np.concatenate([toxic, harmless]))
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


@dataclass(frozen=True)
class IdentityRow:
    """One identity's AUCs with the sizes they rest on, and errors at a threshold."""

    identity: str
    toxic: int
    harmless: int
    subgroup_auc: float | None
    bpsn_auc: float | None
    bnsp_auc: float | None
    false_positive_rate: float | None
    false_negative_rate: float | None

    @property
    def lowest(self) -> float | None:
        known = [v for v in (self.subgroup_auc, self.bpsn_auc, self.bnsp_auc) if v is not None]
        return min(known) if known else None


def mentions(texts: Sequence[str], identities: Iterable[str]) -> Mapping[str, NDArray[np.bool_]]:
    """Which texts have each term as whole words; a longer term's words count for it alone.

    "african american" is no mention of "american": the terms are taken longest first.
    """
    ordered = sorted(identities, key=lambda term: -len(term))
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, ordered)) + r")\b")
    found = [set(pattern.findall(text.lower())) for text in texts]
    return {term: np.array([term in one for one in found], dtype=bool) for term in ordered}


def by_identity(
    texts: Sequence[str],
    labels: NDArray[np.bool_],
    scores: Scores,
    identities: Iterable[str],
    *,
    threshold: float = 0.5,
) -> list[IdentityRow]:
    """A row for each identity that is mentioned, the worst first."""
    rows = []
    for term, mask in mentions(texts, identities).items():
        if not mask.any():
            continue
        toxic, harmless = scores[mask & labels], scores[mask & ~labels]
        called = (scores[mask] >= threshold).tolist()
        rates = error_rates(labels[mask].tolist(), called, [term] * len(called))[term]
        rows.append(
            IdentityRow(
                identity=term,
                toxic=len(toxic),
                harmless=len(harmless),
                subgroup_auc=auc(toxic, harmless),
                bpsn_auc=auc(scores[~mask & labels], harmless),
                bnsp_auc=auc(toxic, scores[~mask & ~labels]),
                false_positive_rate=rates["false_positive_rate"],
                false_negative_rate=rates["false_negative_rate"],
            )
        )
    return sorted(rows, key=lambda row: (row.lowest is None, row.lowest, row.identity))


def error_rates(
    toxic: Sequence[bool], called_toxic: Sequence[bool], groups: Sequence[str]
) -> dict[str, dict[str, float | None]]:
    """For each group: texts, and the false-positive and false-negative rates by MetricFrame.

    A rate is None where the group has no harmless, or no toxic, text: not a perfect 0.
    """
    from fairlearn.metrics import MetricFrame, count, false_negative_rate, false_positive_rate

    frame = MetricFrame(
        metrics={
            "texts": count,
            "false_positive_rate": lambda true, called: (
                None if all(true) else false_positive_rate(true, called, pos_label=1)
            ),
            "false_negative_rate": lambda true, called: (
                false_negative_rate(true, called, pos_label=1) if any(true) else None
            ),
        },
        y_true=np.asarray(toxic, dtype=int),
        y_pred=np.asarray(called_toxic, dtype=int),
        sensitive_features=list(groups),
    )
    return {
        str(group): {
            name: None if value is None or np.isnan(value) else float(value)
            for name, value in row.items()
        }
        for group, row in frame.by_group.iterrows()
    }
