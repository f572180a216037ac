"""Vectors in two dimensions, for a picture of them."""

from __future__ import annotations

import logging
import warnings

import numpy as np
from numpy.typing import NDArray

from hf_select.errors import ArgumentError, MissingPackageError
from hf_select.selection import Selection

__all__ = ["as_clustered", "embed"]

log = logging.getLogger("hf_select")


def as_clustered(vectors: NDArray[np.float32], selection: Selection, column: str) -> NDArray[np.float32]:
    """Scale vectors as the Selection's method did, if it looked at them."""
    params = selection.params if selection.params.get("column") == column else {}
    axis = {"features": 0, "rows": 1}.get(str(params.get("standardize")))
    if axis is not None:
        deviation = vectors.std(axis=axis, keepdims=True, dtype=np.float64)
        vectors = (vectors - vectors.mean(axis=axis, keepdims=True, dtype=np.float64)) / np.where(
            deviation > 0, deviation, 1
        )
    if params.get("metric") == "cosine":
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return np.asarray(vectors, dtype=np.float32)


def embed(vectors: NDArray[np.float32], method: str, seed: int) -> tuple[NDArray[np.float64], tuple[str, str]]:
    """Return (points in two dimensions, names of the axes)."""
    points, shares = _pca(vectors, seed)
    if method == "umap":
        return _umap(vectors, points, seed), ("UMAP 1", "UMAP 2")
    return points, (f"PC 1 ({shares[0]:.0%} of variance)", f"PC 2 ({shares[1]:.0%})")


def _pca(vectors: NDArray[np.float32], seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (points, share of the variance on each axis); an axis that does not exist is all zeros."""
    from sklearn.decomposition import PCA

    points, shares = np.zeros((len(vectors), 2)), np.zeros(2)
    number = min(2, *vectors.shape)
    if len(vectors) > 1 and (vectors != vectors[0]).any():
        fitted = PCA(n_components=number, random_state=seed).fit(vectors)
        points[:, :number] = fitted.transform(vectors)
        shares[:number] = fitted.explained_variance_ratio_
    return points, shares


def _umap(vectors: NDArray[np.float32], start: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Return UMAP's points. It starts from those of PCA: its own spectral start differs from run to run."""
    if len(vectors) < 5:
        raise ArgumentError(f"UMAP needs at least 5 rows to draw, and there are {len(vectors)}: use method='pca'.")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            from umap import UMAP
        except ImportError as error:
            raise MissingPackageError(
                f"method='umap' needs umap-learn ({error}): pip install umap-learn, or use method='pca'."
            ) from error
        scaled = (10 * start / max(float(np.abs(start).max()), 1e-12)).astype(np.float32)
        mapper = UMAP(n_neighbors=min(15, len(vectors) - 1), init=scaled, random_state=seed, n_jobs=1)
        points = mapper.fit_transform(vectors)
    for warning in caught:
        log.info("UMAP: %s", warning.message)
    return np.nan_to_num(np.asarray(points, dtype=np.float64))
