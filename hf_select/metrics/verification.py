"""Verification: how well scores tell pairs of the same speaker from pairs of different speakers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from hf_select.errors import ArgumentError
from hf_select.metrics.inputs import read_binary, read_scores, require_same_length

__all__ = ["EqualError", "equal_error"]


class EqualError(NamedTuple):
    """Where false acceptance equals false rejection: the rate there, and the score that it is reached at."""

    rate: float
    threshold: float


def equal_error(scores: Any, labels: Any) -> EqualError:
    """Return the equal error rate of verification scores, and its threshold.

    A pair is accepted where its score is at least t. False acceptance FA(t) = share of the pairs of different speakers
    that are accepted; false rejection FR(t) = share of the pairs of the same speaker that are not. As t falls from above
    the highest score through every score that occurs, (FA, FR) walks from (0, 1) to (1, 0); neighbouring points are
    joined by straight lines, and the one point where this line crosses FA = FR is the equal error rate.

    Args:
        scores: one finite number per pair, in any unit; a higher one means more likely the same speaker.
        labels: 1 (same speaker) or 0 (different speakers) per pair; both must occur.

    Returns:
        `rate`, from 0 (told apart without an error) over 0.5 (chance) to 1 (the wrong way round), and `threshold`, the
        score there, in the unit of the scores: interpolated as the rate is (of several, the highest); the highest score of
        all where even accepting that one alone gives FA >= FR.

    Raises:
        ArgumentError: no pairs; lengths differ; a score that is not finite; a label other than 0 and 1; one label only.

    Reference:
        The crossing of the piecewise linear ROC, as in the usual recipes (such as root finding on scikit-learn's
        `roc_curve`); not that of the ROC's convex hull, which is never above it (Bruemmer & de Villiers, The BOSARIS
        Toolkit User Guide).

    Example:
        >>> equal_error([0.9, 0.6, 0.4, 0.1], [1, 0, 1, 0])
        EqualError(rate=0.5, threshold=0.6)
    """
    numbers, same = read_scores(scores, "scores"), read_binary(labels, "labels")
    require_same_length(scores=numbers, labels=same)
    num_same, num_other = int(same.sum()), int((~same).sum())
    if not num_same or not num_other:
        kind = "the same speaker (label 1)" if num_same else "different speakers (label 0)"
        raise ArgumentError(f"All {len(same)} pairs are of {kind}: an equal error rate needs pairs of both kinds.")
    levels, place = np.unique(-numbers, return_inverse=True)  # from the highest score down
    rejected = num_same - np.cumsum(np.bincount(place[same], minlength=len(levels)))
    accepted = np.cumsum(np.bincount(place[~same], minlength=len(levels)))
    gap = accepted * num_same - rejected * num_other  # whole numbers: the sign of FA - FR without rounding; rises
    after = int(np.searchsorted(gap, 0))
    if after == 0:  # between accepting nothing (FA 0, FR 1) and accepting the highest score
        share = num_same * num_other / (num_same * num_other + int(gap[0]))
        return EqualError(float(share * accepted[0] / num_other), float(-levels[0]))
    share = -int(gap[after - 1]) / (int(gap[after]) - int(gap[after - 1]))
    crossing = accepted[after - 1] + share * (accepted[after] - accepted[after - 1])
    threshold = -levels[after - 1] - share * (levels[after] - levels[after - 1])
    return EqualError(float(crossing / num_other), float(threshold))
