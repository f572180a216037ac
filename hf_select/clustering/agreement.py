"""How much clusterings, or the rows kept by them, agree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

__all__ = ["mean_overlap", "mean_rand_index"]


def mean_rand_index(clusterings: Sequence[NDArray[np.int32]]) -> float:
    """Return the adjusted Rand index of two clusterings, on average over all pairs: 1 = equal, 0 = as by chance.

    >>> mean_rand_index([np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0])])
    1.0
    """
    from sklearn.metrics import adjusted_rand_score

    found = [float(adjusted_rand_score(a, b)) for a, b in combinations(clusterings, 2)]
    return float(np.mean(found)) if found else float("nan")


def mean_overlap(kept: Sequence[NDArray[np.bool_]]) -> float:
    """Return rows that two choices share, of those that either keeps (Jaccard index), on average over all pairs.

    >>> mean_overlap([np.array([True, True, False]), np.array([False, True, True])])
    0.3333333333333333
    """
    found = [float((a & b).sum() / max((a | b).sum(), 1)) for a, b in combinations(kept, 2)]
    return float(np.mean(found)) if found else float("nan")
