"""Whether a subgroup differs from the rest by more than chance, when speakers are the sample: p and intervals.

    speaker_statistics(n, y, N, Y, out) -> None      compiled; fills out[:len(STATISTICS)] for one subgroup
    speaker_spread(values, speakers) -> Spread       of all rows that have an outcome, once
    speaker_p(statistics, rows_p, spread) -> p       rows_p: p by rows (exact_p or permutation_p)
    speaker_interval(statistics, n, mean, spread, zero_one=True) -> low, high

n, y: rows (with an outcome) of the subgroup and the sum of their outcomes, per speaker; N, Y: the same of all rows.
`statistics` is a matrix, subgroups x len(STATISTICS), float64; rows_p, n and mean have one entry per subgroup.

Rows of one speaker resemble each other, so that many rows of few speakers prove little. Two things are asked of a
subgroup, and its p is the larger of the two answers:

1. Is the difference too large for speakers who differ as much as these do? p by rows, deflated by the design effect of
   a random effect per speaker, whose size comes from all rows (Kish 1965; Rao & Scott 1992).
2. Does it hold over the subgroup's own speakers? The difference over its standard error by the jackknife that leaves
   out one speaker at a time (CR3 of Bell & McCaffrey 2002), read off t with the effective number of speakers less one as
   degrees of freedom (Kish; Satterthwaite), so that a subgroup of nearly one speaker proves nothing. Few speakers can
   agree by luck: so the variance is no smaller than what it is for all subgroups, relative to the first answer's; and as
   many degrees of freedom are borrowed from the other subgroups as their variances, scattering little or much about
   that, allow (empirical Bayes, Smyth 2004), at most 3 for each own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_select.subgroups.kernels import STATISTICS, speaker_statistics
from hf_select.subgroups.significance import wilson_interval

__all__ = ["STATISTICS", "Spread", "speaker_interval", "speaker_p", "speaker_spread", "speaker_statistics"]

Floats = NDArray[np.float64]
BORROWED = 3  # degrees of freedom, at most, from other subgroups for each own
ENOUGH = 20  # subgroups to borrow from; with fewer nothing is borrowed
LARGE = 1e4  # half as many degrees of freedom as no longer differ from infinitely many


@dataclass(frozen=True)
class Spread:
    """How outcomes differ between and within speakers: the one-way analysis of variance of all rows.

    Attributes:
        rows, speakers: how many there are.
        between, within: mean squares between and within speakers. size: the rows per speaker that this counts with.
        variance: of all rows (divided by rows - 1).
    """

    rows: int
    speakers: int
    between: float
    within: float
    size: float
    variance: float

    @property
    def effect(self) -> float:
        """The variance of the speakers' own effects, 0 or more."""
        return max(0.0, (self.between - self.within) / self.size) if self.size > 0 else 0.0

    @property
    def alike(self) -> float:
        """The intraclass correlation: how much rows of one speaker resemble each other, 0 to 1."""
        whole = self.effect + self.within
        return self.effect / whole if whole > 0 else 0.0


def speaker_spread(values: ArrayLike, speakers: ArrayLike) -> Spread:
    """Split the variance of the outcomes into that between and that within speakers.

    Args:
        values: an outcome per row; NaN is left out. speakers: the code of the speaker of each row, 0 or more.

    Reference: S. R. Searle, G. Casella & C. E. McCulloch, "Variance Components" (1992), section 3.6.

    >>> speaker_spread([0.0, 2.0, 4.0, 6.0], [0, 0, 1, 1]).effect  # (16 - 2) / 2
    7.0
    """
    all_outcomes = np.asarray(values, np.float64)
    judged = ~np.isnan(all_outcomes)
    outcomes, codes = all_outcomes[judged], np.asarray(speakers)[judged]
    count = np.bincount(codes).astype(np.float64)
    sums = np.bincount(codes, weights=outcomes)[count > 0]
    count = count[count > 0]
    rows, groups = len(outcomes), len(count)
    if groups < 2:
        return Spread(rows, groups, np.nan, np.nan, 0.0, np.nan)
    whole = float(((outcomes - outcomes.mean()) ** 2).sum())
    between = float((count * (sums / count - outcomes.mean()) ** 2).sum())
    size = (rows - float((count**2).sum()) / rows) / (groups - 1)
    within = (whole - between) / (rows - groups) if rows > groups else 0.0
    return Spread(rows, groups, between / (groups - 1), max(within, 0.0), size, whole / (rows - 1))


def speaker_p(statistics: Floats, rows_p: ArrayLike, spread: Spread) -> Floats:
    """Return p of each subgroup against the rest, two-sided, for speakers drawn at random; hardly ever below p by rows.

    Args:
        statistics: subgroups x len(STATISTICS), from `speaker_statistics`. rows_p: p by rows. spread: of all rows.

    Returns:
        p per subgroup; NaN where one speaker has all rows of the subgroup, or of the rest.

    References: J. N. K. Rao & A. J. Scott (1992), "A Simple Method for the Analysis of Clustered Binary Data";
    R. M. Bell & D. F. McCaffrey (2002), "Bias Reduction in Standard Errors for Linear Regression with Multi-Stage
    Samples"; G. K. Smyth (2004), "Linear Models and Empirical Bayes Methods for Assessing Differential Expression in
    Microarray Experiments".
    """
    if spread.speakers < 2 or not spread.variance > 0:
        return np.full(len(statistics), np.nan)
    n, overlap = statistics[:, 1], statistics[:, 5]
    with np.errstate(divide="ignore", invalid="ignore"):
        per_row = 1 / n + 1 / (spread.rows - n)
        expected = spread.within * per_row + spread.effect * overlap
    return np.maximum(
        _deflated(np.asarray(rows_p, np.float64), spread, per_row, overlap, expected),
        _over_speakers(statistics, expected),
    )


def _deflated(rows_p: Floats, spread: Spread, per_row: Floats, overlap: Floats, expected: Floats) -> Floats:
    """Return p by rows, its normal deviate divided by the root of the design effect and read off t."""
    from scipy.special import ndtri, stdtr

    with np.errstate(divide="ignore", invalid="ignore"):
        effect = np.maximum(1.0, expected / (spread.variance * per_row))
        between = overlap / spread.size * spread.between
        within = (per_row - overlap / spread.size) * spread.within
        noise = between**2 / (spread.speakers - 1) + within**2 / max(spread.rows - spread.speakers, 1)
        df = np.maximum(expected**2 / noise, 1.0)
        z = ndtri(np.maximum(rows_p, np.finfo(float).tiny) / 2)
        return np.asarray(2 * stdtr(df, z / np.sqrt(effect)))


def _over_speakers(statistics: Floats, expected: Floats) -> Floats:
    """Return p of the difference against its jackknife standard error over speakers."""
    from scipy.special import stdtr

    difference, variance, df = statistics[:, 2], statistics[:, 3], statistics[:, 4]
    level, df = _borrow(variance, expected, df)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(difference) / np.sqrt(np.maximum(variance, level * expected))
        return np.asarray(2 * stdtr(df, -t))


def _borrow(variance: Floats, expected: Floats, df: Floats) -> tuple[float, Floats]:
    """Return how large variances are, of all subgroups, beside those expected (1 or more); and df with those borrowed.

    Ratios of variance to expected are level x F(df, borrowed); both unknowns are fitted to the mean and variance of the
    logarithms, each weighted by its precision (Smyth 2004, section 6.2).
    """
    from scipy.optimize import brentq
    from scipy.special import digamma, polygamma

    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = variance / expected
        found = np.isfinite(ratio) & (ratio > 1e-12) & (df >= 1)
    if found.sum() < ENOUGH:
        return 1.0, df
    half = df[found] / 2
    logs, noise = np.log(ratio[found]) - digamma(half) + np.log(half), polygamma(1, half)
    weights = 1 / noise / (1 / noise).sum()
    mean = float(weights @ logs)
    scatter = float(weights @ ((logs - mean) ** 2 - noise))
    if scatter < polygamma(1, LARGE):
        return max(1.0, float(np.exp(mean))), (1 + BORROWED) * df
    prior = float(brentq(lambda x: polygamma(1, x) - scatter, 1e-6, LARGE))
    return max(1.0, float(np.exp(mean + digamma(prior) - np.log(prior)))), df + np.minimum(2 * prior, BORROWED * df)


def speaker_interval(
    statistics: Floats, n: ArrayLike, mean: ArrayLike, spread: Spread, *, zero_one: bool = True
) -> tuple[Floats, Floats]:
    """Return the 95 % interval of each subgroup's mean, for speakers drawn at random.

    The standard error is the larger of that by the jackknife over the subgroup's speakers and that of rows with a random
    effect per speaker; t as in `speaker_p`. For 0/1 outcomes they make an effective number of rows, and Wilson's interval.

    Args:
        statistics: subgroups x len(STATISTICS). n, mean: rows of each subgroup and their mean. spread: of all rows.
        zero_one: whether outcomes are 0 or 1, not numbers.

    Returns:
        (low, high) per subgroup; NaN where one speaker has all its rows.

    Reference: E. L. Korn & B. I. Graubard (1998), "Confidence Intervals for Proportions with Small Expected Number of
    Positive Counts Estimated from Survey Data".
    """
    from scipy.special import stdtrit

    n, mean = np.asarray(n, np.float64), np.asarray(mean, np.float64)
    variance, df, overlap = statistics[:, 6], statistics[:, 7], statistics[:, 8]
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = spread.within / n + spread.effect * overlap
        t = stdtrit(np.maximum(_borrow(variance, expected, df)[1], 1.0), 0.975)
        if not zero_one:
            half = t * np.sqrt(np.maximum(variance, expected))
            return mean - half, mean + half
        effective = n / np.maximum(1.0, 1 + spread.alike * (n * overlap - 1))
        own = np.where(variance > 0, mean * (1 - mean) / variance, effective)
        effective = np.where(np.isnan(variance), np.nan, np.minimum(effective, own))
    return wilson_interval(effective, mean, t)
