"""Vectors in two dimensions: by PCA, UMAP or t-SNE."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_select.errors import ArgumentError, MissingPackageError

__all__ = ["LEAST_ROWS", "Neighbours", "pca", "tsne", "umap"]

log = logging.getLogger("hf_select")

LEAST_ROWS = 5  # for UMAP and t-SNE, which need neighbours

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Neighbours:
    """Settings of UMAP under its own names. Fewer rows than `n_neighbors` are all neighbours of each other.

    Attributes:
        init: "pca" is the same from run to run; umap-learn's "spectral" is not, even with a seed.
        deterministic: False lets UMAP work in several threads, faster and another result each time.
    """

    n_neighbors: int = 15
    min_dist: float = 0.1
    init: str = "pca"
    deterministic: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.n_neighbors, bool) or not isinstance(self.n_neighbors, int) or self.n_neighbors < 2:
            raise ArgumentError(f"n_neighbors is a whole number of at least 2; got {self.n_neighbors!r}.")
        if not 0 <= self.min_dist <= 1:
            raise ArgumentError(f"min_dist is from 0 to 1; got {self.min_dist!r}.")
        if self.init not in ("pca", "spectral", "random"):
            raise ArgumentError(f"init is 'pca', 'spectral' or 'random'; got {self.init!r}.")


def pca(vectors: NDArray[np.float32], seed: int) -> tuple[Points, Points]:
    """Return (points, share of the variance on each axis); an axis that does not exist is all zeros."""
    from sklearn.decomposition import PCA

    points, shares = np.zeros((len(vectors), 2)), np.zeros(2)
    number = min(2, *vectors.shape)
    if len(vectors) > 1 and (vectors != vectors[0]).any():
        fitted = PCA(n_components=number, random_state=seed).fit(vectors)
        points[:, :number] = fitted.transform(vectors)
        shares[:number] = fitted.explained_variance_ratio_
    return points, shares


def umap(vectors: NDArray[np.float32], seed: int, how: Neighbours = Neighbours()) -> Points:
    """Return UMAP's points.

    Raises:
        ArgumentError: fewer than 5 rows. MissingPackageError: umap-learn is not installed.
    """
    _check_rows(vectors, "UMAP")
    if not (vectors != vectors[0]).any():  # it would draw points at random
        return np.zeros((len(vectors), 2))
    with _told("UMAP"):
        try:
            from umap import UMAP
        except ImportError as error:
            raise MissingPackageError(
                f"UMAP needs umap-learn ({error}): pip install umap-learn, or use PCA."
            ) from error
        options: dict[str, Any] = {"random_state": seed, "n_jobs": 1} if how.deterministic else {}
        mapper = UMAP(
            n_neighbors=min(how.n_neighbors, len(vectors) - 1), min_dist=how.min_dist, init=how.init, **options
        )
        points = mapper.fit_transform(vectors)
    return np.nan_to_num(np.asarray(points, dtype=np.float64))


def tsne(vectors: NDArray[np.float32], seed: int) -> Points:
    """Return the points of t-SNE with scikit-learn's settings (perplexity 30, or a third of the rows).

    Raises:
        ArgumentError: fewer than 5 rows.
    """
    from sklearn.manifold import TSNE

    _check_rows(vectors, "t-SNE")
    if not (vectors != vectors[0]).any():
        return np.zeros((len(vectors), 2))
    start = pca(vectors, seed)[0]
    start = (start / max(float(start[:, 0].std()), 1e-12) * 1e-4).astype(np.float32)
    with _told("t-SNE"):
        perplexity = min(30.0, (len(vectors) - 1) / 3)
        points = TSNE(perplexity=perplexity, init=start, random_state=seed).fit_transform(vectors)
    return np.asarray(points, dtype=np.float64)


def _check_rows(vectors: NDArray[np.float32], name: str) -> None:
    if len(vectors) < LEAST_ROWS:
        raise ArgumentError(f"{name} needs at least {LEAST_ROWS} rows, and there are {len(vectors)}: use PCA.")


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Put what a library warns of into the log."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        log.info("%s: %s", name, warning.message)
