"""Clusters of any shape where points lie dense, and how dense that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Dense", "dbscan", "knee", "neighbour_distances", "to_centroid"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Dense:
    """What DBSCAN found.

    Attributes:
        labels: cluster of each point, -1 for noise.
        eps: the radius, as given or chosen. min_samples: points within it, with itself, that make a point a core.
        why: how eps was chosen, in a few words.
    """

    labels: NDArray[np.int64]
    eps: float
    min_samples: int
    why: str


def dbscan(points: Floats, eps: float | None, min_samples: int) -> Dense:
    """Cluster points by scikit-learn's DBSCAN; the radius from the k-distance curve unless it is given.

    >>> points = np.array([[0, 0], [0, 1], [1, 0], [9, 9], [9, 8], [8, 9], [50, 50]], float)
    >>> dbscan(points, None, 2).labels.tolist()
    [0, 0, 0, 1, 1, 1, -1]
    """
    from sklearn.cluster import DBSCAN

    why = "given"
    if eps is None:
        eps, why = (
            knee(neighbour_distances(points, min_samples - 1)),
            f"knee of the distances to neighbour {min_samples - 1}",
        )
    labels = DBSCAN(eps=eps, min_samples=min_samples).fit(points).labels_.astype(np.int64)
    return Dense(labels, float(eps), min_samples, why)


def neighbour_distances(points: Floats, neighbour: int) -> Floats:
    """Return the distance of each point to its so many-th neighbour (itself not counted; the farthest where there are fewer).

    >>> neighbour_distances(np.array([[0.0], [1.0], [5.0]]), 1).tolist()
    [1.0, 1.0, 4.0]
    """
    from sklearn.neighbors import NearestNeighbors

    if len(points) < 2:
        return np.zeros(len(points))
    number = max(1, min(neighbour, len(points) - 1))
    found = NearestNeighbors(n_neighbors=number).fit(points).kneighbors(return_distance=True)[0]  # without itself
    return np.asarray(found[:, -1], dtype=np.float64)


def knee(distances: Floats) -> float:
    """Return the value where the sorted curve is farthest below the line from its first to its last point.

    Up to there distances grow slowly, inside of clusters; beyond lie the points apart. A curve that is nowhere below that
    line has its largest value.

    >>> knee(np.array([1.0, 1.1, 1.2, 1.3, 9.0]))
    1.3
    """
    curve = np.sort(distances)
    low, high = float(curve[0]), float(curve[-1])
    smallest = float(np.finfo(np.float64).tiny) ** 0.5
    if high <= low:
        return max(high, smallest)  # a radius of 0 is none
    below = np.linspace(0, 1, len(curve)) - (curve - low) / (high - low)
    best = int(below.argmax())
    return max(float(curve[best]) if below[best] > 1e-9 else high, smallest)


def to_centroid(points: Floats, labels: NDArray[Any]) -> Floats:
    """Return the distance of each point to the mean of its cluster's points; NaN for noise.

    >>> to_centroid(np.array([[0.0, 0], [2, 0], [5, 5]]), np.array([0, 0, -1])).tolist()
    [1.0, 1.0, nan]
    """
    found = np.full(len(points), np.nan)
    for label in np.unique(labels[labels >= 0]):
        own = labels == label
        found[own] = np.linalg.norm(points[own] - points[own].mean(axis=0), axis=1)
    return found
