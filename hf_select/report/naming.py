"""Where names go in a crowded picture: one tidy column beside what they name, over few points, none over another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["column"]

Floats = NDArray[np.float64]
_HIDDEN, _UNDER, _LENGTH = (
    1.0,
    100.0,
    0.025,
)  # what a hidden point, a named point under the column and a unit of line weigh
_SPOT = 2.0  # points nearer than this are one spot of colour
_BESIDE = 12.0  # from a point to the names beside it


def column(
    points: Floats, cloud: Floats, size: tuple[float, float], low: Floats, high: Floats
) -> tuple[Floats, Floats]:
    """Place a column of equal boxes, one for each point: at its points' height if it can be, where it hides the least.

    Args:
        points: what is named, (names, 2). cloud: all points of the picture.
        size: width and height of a box, with a margin.
        low, high: the corners between which the boxes lie; as many as there are points fit above each other.
        All in typographic points.

    Returns:
        The lower left corner of each box, and where the line from its point meets it. The lines have the least length in
        all, so that no two on one side of the column cross.
    """
    from scipy.optimize import linear_sum_assignment

    width, height = size
    slots = _spread(np.sort(points[:, 1]), height, float(low[1]), float(high[1]))
    edges = np.arange(low[0], max(float(high[0]) - width, float(low[0])) + 1, _SPOT)
    spots = np.unique(np.round(cloud / _SPOT), axis=0) * _SPOT
    beside = (np.abs(spots[:, 1:] - slots) < height / 2).any(axis=1)
    cost = _HIDDEN * _between(spots[beside, 0], edges, edges + width)
    cost = cost + _UNDER * _between(points[:, 0], edges - _BESIDE, edges + width + _BESIDE)
    cost += _LENGTH * np.abs(np.clip(points[:, :1], edges, edges + width) - points[:, :1]).sum(axis=0)
    left = edges[np.argmin(cost)]
    meets = np.clip(points[:, 0], left, left + width)
    away = np.hypot((meets - points[:, 0])[:, None], slots - points[:, 1:])
    chosen = slots[linear_sum_assignment(away)[1]]
    return np.column_stack([np.full(len(points), left), chosen - height / 2]), np.column_stack([meets, chosen])


def _between(values: Floats, low: Floats, high: Floats) -> NDArray[np.int64]:
    """Count the values that lie between each low and high."""
    ordered = np.sort(values)
    return np.searchsorted(ordered, high) - np.searchsorted(ordered, low)


def _spread(wanted: Floats, height: float, low: float, high: float) -> Floats:
    """Move places, given from the bottom up, to `height` apart and between low and high, by as little as possible.

    Those that touch move as one block, to the mean of where they want to be (isotonic regression).
    """
    steps = height * np.arange(len(wanted))
    blocks: list[tuple[float, int]] = []  # the mean of some places, less their steps; how many these are
    for value in wanted - steps:
        mean, count = float(value), 1
        while blocks and blocks[-1][0] > mean:
            below, many = blocks.pop()
            mean, count = (mean * count + below * many) / (count + many), count + many
        blocks.append((mean, count))
    moved = np.repeat([mean for mean, _ in blocks], [count for _, count in blocks])
    return np.clip(moved, low + height / 2, high - height / 2 - steps[-1]) + steps
