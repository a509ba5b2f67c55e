"""The statistics of the gate, one function per formula. Sources and reference values: tests.

A "difference" is candidate minus baseline with the sign that makes higher better.
``alpha`` is two-sided in intervals and one-sided in tests of non-inferiority, so that
``alpha=0.05`` of an interval belongs to ``alpha=0.025`` of a test.
"""

from __future__ import annotations

from eval.stats_binary import (
    clopper_pearson,
    corrected_rate,
    exact,
    icat,
    mcnemar_exact,
    mcnemar_mid_p,
    newcombe_interval,
    proportion_standard_error,
    tango_interval,
    tango_noninferiority_p,
    win_rate,
)
from eval.stats_exact import paired_score_interval
from eval.stats_multiplicity import benjamini_hochberg, holm
from eval.stats_numeric import (
    Interval,
    cluster_interval,
    cluster_standard_error,
    jackknife_ratio_interval,
    korn_graubard_interval,
    paired_t,
    sign_flip_interval,
    sign_flip_p,
    sparse_interval,
)
from eval.stats_planning import (
    num_for_paired_binary,
    num_for_zero_harm,
    power_limit_binary,
    power_mean,
    power_tango,
    smallest_margin,
)

__all__ = [
    "Interval",
    "benjamini_hochberg",
    "clopper_pearson",
    "cluster_interval",
    "cluster_standard_error",
    "corrected_rate",
    "exact",
    "holm",
    "icat",
    "jackknife_ratio_interval",
    "korn_graubard_interval",
    "mcnemar_exact",
    "mcnemar_mid_p",
    "newcombe_interval",
    "num_for_paired_binary",
    "num_for_zero_harm",
    "paired_score_interval",
    "paired_t",
    "power_limit_binary",
    "power_mean",
    "power_tango",
    "proportion_standard_error",
    "sign_flip_interval",
    "sign_flip_p",
    "smallest_margin",
    "sparse_interval",
    "tango_interval",
    "tango_noninferiority_p",
    "win_rate",
]
