"""One difference, seed by seed, with its interval; and many of them, of which some differ by chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_select.errors import ArgumentError

__all__ = ["Paired", "holm", "paired"]


@dataclass(frozen=True)
class Paired:
    """The difference between two sets of numbers that belong together seed by seed.

    Attributes:
        mean: of first minus second. error: its standard error (NaN with one pair). pairs: how many.
        limit: how far from 0 the mean may be by chance; see `paired`.
        low, high: the 95 % interval of the mean. p: two-sided, of the paired t-test. All NaN with one pair.

    Example:
        >>> found = paired([0.81, 0.83, 0.82, 0.84], [0.80, 0.80, 0.80, 0.80])
        >>> print(found, f"[{found.low:.3f}, {found.high:.3f}]", f"p = {found.p:.3f}")
        +0.025 ± 0.006 [0.004, 0.046] p = 0.030
    """

    mean: float
    error: float
    pairs: int
    limit: float

    @property
    def low(self) -> float:
        """Return the lower end of the 95 % interval of the mean."""
        return self.mean - self.limit if self.pairs > 1 else math.nan

    @property
    def high(self) -> float:
        """Return the upper end of the 95 % interval of the mean."""
        return self.mean + self.limit if self.pairs > 1 else math.nan

    @property
    def p(self) -> float:
        """Return p of the paired t-test; where all differences are equal, 0, or 1 if they are 0."""
        from scipy.stats import t

        if self.pairs < 2 or math.isnan(self.error):
            return math.nan
        if self.error == 0:
            return 0.0 if self.mean else 1.0
        return float(2 * t.sf(abs(self.mean) / self.error, self.pairs - 1))

    @property
    def is_clear(self) -> bool:
        """Say whether the mean is farther from 0 than chance explains."""
        return abs(self.mean) > self.limit

    def verdict(self, sign: int = 1) -> str:
        """Return "better", "worse" or "not told apart"; `sign` is 1 where more is better, -1 where less is."""
        if not self.is_clear:
            return "not told apart"
        return "better" if sign * self.mean > 0 else "worse"

    def __str__(self) -> str:
        mean = f"{round(self.mean, 3) + 0.0:+.3f}"  # no -0.000
        return f"{mean} ± {self.error:.3f}" if self.pairs > 1 else mean


def paired(first: Sequence[float], second: Sequence[float]) -> Paired:
    """Compare numbers seed by seed.

    The limit is two standard errors, or Student's two-sided 95 % limit where that is wider: with 3 seeds 4.3 standard
    errors, with 5 seeds 2.8, from 60 on 2. Over many comparisons one in twenty passes it by chance; see `holm`.

    Example:
        >>> print(paired([0.81, 0.83, 0.82], [0.80, 0.80, 0.82]), paired([0.81, 0.83, 0.82], [0.80, 0.80, 0.82]).is_clear)
        +0.013 ± 0.009 False
    """
    from scipy.stats import t

    if len(first) != len(second) or not len(first):
        raise ArgumentError(f"Pairs need as many numbers on both sides; got {len(first)} and {len(second)}.")
    apart = np.subtract(first, second)
    count = len(apart)
    if count < 2:
        return Paired(float(apart.mean()), math.nan, 1, math.inf)
    error = float(apart.std(ddof=1) / math.sqrt(count))
    return Paired(float(apart.mean()), error, count, max(2.0, float(t.ppf(0.975, count - 1))) * error)


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Adjust p for many comparisons by Holm's step-down rule, whatever the comparisons have in common.

    Calling all below 0.05 clear, one or more is called so by chance alone in at most one of twenty such tables.

    Args:
        p: of each comparison; NaN (untestable) stays NaN and is not counted.

    Reference: S. Holm (1979), "A Simple Sequentially Rejective Multiple Test Procedure".

    >>> holm([0.01, 0.04, float("nan"), 0.03]).round(6).tolist()
    [0.03, 0.06, nan, 0.06]
    """
    values = np.array(p, dtype=np.float64)
    there = np.flatnonzero(~np.isnan(values))
    order = there[np.argsort(values[there], kind="stable")]
    adjusted = np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1))
    values[order] = np.minimum(adjusted, 1)
    return values
