"""Whether a subgroup differs from the other rows by more than chance: p, q and intervals, taking rows as independent.

    exact_p(n, k, size, ones) -> p                       0/1: exact hypergeometric test against the rest
    moments(values) -> Moments                           of all rows that have an outcome
    permutation_p(n, mean, moments) -> p                 numbers: permutation test against the rest
    benjamini_hochberg(p) -> q                           NaN (untestable) stays NaN and is not counted
    wilson_interval(n, mean, t=1.96) -> low, high        0/1; n may be an effective number of rows
    t_interval(n, mean, variance) -> low, high           numbers; variance is the sample variance (n - 1)

All work on arrays, one entry per subgroup. Rows of one speaker are not independent: `speakers` has the same for samples
of speakers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Moments", "benjamini_hochberg", "exact_p", "moments", "permutation_p", "t_interval", "wilson_interval"]

Floats = NDArray[np.float64]
LEAST_SKEW = 1e-4  # below, the normal distribution serves
Z_95 = 1.959963984540054  # the 97.5 % point of the normal distribution


def exact_p(n: ArrayLike, k: ArrayLike, size: int, ones: int) -> Floats:
    """Return p of the exact hypergeometric test of each subgroup against the rest, two-sided.

    Under the null hypothesis the subgroup's rows are drawn from all rows without replacement. Two-sided p is twice the
    smaller tail, at most 1. Right to about 1e-12, relative, and never below the smallest float by underflow of a factor.

    Args:
        n: rows of each subgroup that have an outcome. k: ones among them.
        size: rows that have an outcome in all. ones: ones among those.

    Returns:
        p per subgroup; NaN where it holds no row, or every row.

    Reference: R. A. Fisher (1935), "The Logic of Inductive Inference"; computed as in `hypergeometric`.

    >>> exact_p([3], [3], size=6, ones=3).round(6).tolist()  # 3 of 3 against 0 of 3: 2 / 20
    [0.1]
    """
    from hf_select.subgroups.hypergeometric import two_sided
    from hf_select.subgroups.threads import in_chunks

    drawn, seen = np.broadcast_arrays(np.asarray(n, np.int64), np.asarray(k, np.int64))
    drawn, seen = np.ascontiguousarray(drawn), np.ascontiguousarray(seen)  # one kind of array: see `compiled`
    p = np.empty(len(drawn))
    in_chunks(len(p), lambda a, b: two_sided(drawn[a:b], seen[a:b], int(size), int(ones), p[a:b]))
    return p


@dataclass(frozen=True)
class Moments:
    """Of all rows that have an outcome: how many, their mean, variance (divided by size) and skewness."""

    size: int
    mean: float
    variance: float
    skewness: float


def moments(values: ArrayLike) -> Moments:
    """Return the moments of the outcomes of all rows; NaN is left out.

    >>> moments([0.0, 0.0, 0.0, 4.0])
    Moments(size=4, mean=1.0, variance=3.0, skewness=1.1547005383792515)
    """
    kept = np.asarray(values, np.float64)
    kept = kept[~np.isnan(kept)]
    mean = float(kept.mean()) if len(kept) else np.nan
    away = kept - mean
    variance = float((away**2).mean()) if len(kept) else np.nan
    skewness = float((away**3).mean() / variance**1.5) if variance > 0 else 0.0
    return Moments(len(kept), mean, variance, skewness)


def permutation_p(n: ArrayLike, mean: ArrayLike, population: Moments) -> Floats:
    """Return p of the permutation test of each subgroup's mean, two-sided, by three moments.

    The mean of n rows drawn without replacement has a known mean, variance and skewness; its long tail is taken from the
    Pearson type III distribution that has the same three, its short tail from the normal distribution, which is longer.
    A Welch test is far too eager on word error rates, which are skewed and full of zeros: to means of 79 rows drawn by
    chance from LibriSpeech it gives p <= 1e-4 twenty times too often.

    Args:
        n: rows of each subgroup that have an outcome. mean: their mean. population: `moments` of all rows.

    Returns:
        p per subgroup, twice the tail and at most 1; NaN where it holds no row, or every row, or all are equal.

    Reference: P. W. Mielke & K. J. Berry, "Permutation Methods: A Distance Function Approach" (2nd ed. 2007), chapter 2.

    >>> permutation_p([5, 5], [0.5, 1.0], moments([0.0, 1.0] * 50)).round(3).tolist()
    [1.0, 0.022]
    """
    n, mean = np.broadcast_arrays(np.asarray(n, np.float64), np.asarray(mean, np.float64))
    size = population.size
    if size < 3 or not population.variance > 0:
        return np.full(n.shape, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        finite = (size - n) / (n * (size - 1))
        z = (mean - population.mean) / np.sqrt(population.variance * finite)
        skewness = population.skewness * (size - 2 * n) / (size - 2) * np.sqrt((size - 1) / (n * (size - n)))
        return np.where((n > 0) & (n < size), np.minimum(1.0, 2 * _tail(z, skewness)), np.nan)


def _tail(z: Floats, skewness: Floats) -> Floats:
    """Return the tail beyond z: of the Pearson type III distribution on the side of the skew, else of the normal.

    On the other side a few outliers, which make the skewness, would make Pearson's tail too thin; the normal is safe.
    """
    from scipy.special import gammaincc, ndtr

    shape = 4 / np.maximum(np.abs(skewness), LEAST_SKEW) ** 2
    skewed = (z * skewness > 0) & (np.abs(skewness) > LEAST_SKEW)
    return np.where(skewed, gammaincc(shape, shape + np.abs(z) * np.sqrt(shape)), ndtr(-np.abs(z)))


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Return q of each p: the false discovery rate at which it would just be reported.

    Args:
        p: one per subgroup that was tested; NaN (untestable) is left out of the count, and stays NaN.

    Reference: Y. Benjamini & Y. Hochberg (1995), "Controlling the False Discovery Rate".

    >>> benjamini_hochberg([0.01, 0.04, float("nan"), 0.03]).round(3).tolist()
    [0.03, 0.04, nan, 0.04]
    """
    p = np.asarray(p, np.float64)
    q = np.full(p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    scaled = p[order] * len(order) / np.arange(1, len(order) + 1)
    q[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    return q


def wilson_interval(n: ArrayLike, mean: ArrayLike, t: ArrayLike = Z_95) -> tuple[Floats, Floats]:
    """Return Wilson's interval of a share: of 0/1 outcomes with this mean over n rows.

    Args:
        n: rows, or an effective number of rows, which need not be whole. mean: 0 to 1. t: the quantile; 95 % by default.

    Reference: E. B. Wilson (1927), "Probable Inference, the Law of Succession, and Statistical Inference".

    >>> low, high = wilson_interval([10], [0.5])
    >>> low.round(4).tolist(), high.round(4).tolist()
    ([0.2366], [0.7634])
    """
    n, mean, t = np.broadcast_arrays(*(np.asarray(each, np.float64) for each in (n, mean, t)))
    with np.errstate(divide="ignore", invalid="ignore"):
        pull = t**2 / n
        centre = (mean + pull / 2) / (1 + pull)
        half = t * np.sqrt(mean * (1 - mean) / n + pull / (4 * n)) / (1 + pull)
    low, high = np.clip(centre - half, 0.0, mean), np.clip(centre + half, mean, 1.0)
    return np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan)


def t_interval(n: ArrayLike, mean: ArrayLike, variance: ArrayLike) -> tuple[Floats, Floats]:
    """Return the 95 % t interval of a mean of numbers; NaN for fewer than 2 rows.

    Args:
        n: rows. mean: of them. variance: of them (divided by n - 1).

    >>> low, high = t_interval([4], [1.0], [4.0])
    >>> low.round(4).tolist(), high.round(4).tolist()
    ([-2.1824], [4.1824])
    """
    from scipy.special import stdtrit

    n, mean, variance = np.broadcast_arrays(*(np.asarray(each, np.float64) for each in (n, mean, variance)))
    enough = n > 1
    rows = np.where(enough, n, 2.0)
    half = np.where(enough, stdtrit(rows - 1, 0.975) * np.sqrt(variance / rows), np.nan)
    return mean - half, mean + half
