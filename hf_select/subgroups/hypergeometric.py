"""Tails of the hypergeometric distribution, for tens of thousands of subgroups at once.

Every probability comes from Loader's saddle-point form of the binomial, which neither over- nor underflows and keeps
about 14 digits at any size; the tail is then summed term by term, outwards from the value that was seen.

Reference: C. Loader, "Fast and Accurate Computation of Binomial Probabilities" (2000), sections 1 and 2.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hf_select.subgroups.compiled import compiled

__all__ = ["two_sided"]

# log(n!) less Stirling's formula, for n = 0..15; beyond that the series is exact to the last digit.
_EXACT = [math.lgamma(n + 1.0) - ((n + 0.5) * math.log(n) - n + 0.5 * math.log(2 * math.pi)) for n in range(1, 16)]
_STIRLING_ERROR = np.array([0.0, *_EXACT])


@compiled
def _stirling_error(n: float) -> float:
    if n <= 15:
        return _STIRLING_ERROR[int(n)]
    square = n * n
    series = 1 / 1260 - (1 / 1680 - (1 / 1188 - 691 / 360360 / square) / square) / square
    return (1 / 12 - (1 / 360 - series / square) / square) / n


@compiled
def _deviance(x: float, mean: float) -> float:
    """Return x log(x / mean) + mean - x, without cancellation where the two are close."""
    if abs(x - mean) >= 0.1 * (x + mean):
        return x * math.log(x / mean) + mean - x
    v = (x - mean) / (x + mean)
    total, term = (x - mean) * v, 2 * x * v
    for j in range(1, 1000):
        term *= v * v
        following = total + term / (2 * j + 1)
        if following == total:
            break
        total = following
    return total


@compiled
def _log_binomial(k: float, n: float, p: float) -> float:
    if k == 0:
        return n * math.log1p(-p) if p < 0.1 else n * math.log(1 - p)
    if k == n:
        return n * math.log(p)
    error = _stirling_error(n) - _stirling_error(k) - _stirling_error(n - k)
    bulk = _deviance(k, n * p) + _deviance(n - k, n * (1 - p))
    return error - bulk + 0.5 * math.log(n / (2 * math.pi * k * (n - k)))


@compiled
def _two_sided(n: int, k: int, size: int, ones: int) -> float:
    first, last = max(0, n + ones - size), min(n, ones)
    if first == last:
        return 1.0
    p = n / size
    here = math.exp(_log_binomial(k, ones, p) + _log_binomial(n - k, size - ones, p) - _log_binomial(n, size, p))
    upwards = k * size >= n * ones
    total, term, j = here, here, k
    while term > total * 1e-17 and (j < last if upwards else j > first):
        if upwards:
            term *= (n - j) / (j + 1) * (ones - j) / (size - n - ones + j + 1)
            j += 1
        else:
            term *= j / (n - j + 1) * (size - n - ones + j) / (ones - j + 1)
            j -= 1
        total += term
    return min(1.0, 2 * min(total, 1 + here - total))


@compiled
def two_sided(n: Any, k: Any, size: int, ones: int, p: Any) -> None:
    """Fill `p` with twice the smaller tail, at most 1, for each pair of n drawn and k ones among them."""
    for i in range(len(n)):
        p[i] = _two_sided(n[i], k[i], size, ones) if 0 < n[i] < size else np.nan
