"""The iterations of k-means by faiss, on all rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_select.clustering.matrix import Matrix
from hf_select.errors import MissingPackageError

__all__ = ["centres_by_faiss", "import_faiss"]


def import_faiss() -> Any:
    """Return the module.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingPackageError(
            f"backend='faiss' needs faiss ({error}): pip install \"hf-select[faiss]\", or use backend='sklearn'."
        ) from error
    return faiss


def centres_by_faiss(matrix: Matrix, start: NDArray[np.float32], max_iter: int, seed: int) -> NDArray[np.float32]:
    """Return the centres after `max_iter` iterations from `start`; faiss does not stop before.

    A matrix on disk is mapped: its pages are the kernel's to take back.
    """
    faiss = import_faiss()
    clusters, dimensions = start.shape
    # by default faiss looks at 256 rows a cluster, chosen by chance, and complains below 39
    points = {"max_points_per_centroid": -(-len(matrix) // clusters), "min_points_per_centroid": 1}
    kmeans = faiss.Kmeans(dimensions, clusters, niter=max_iter, seed=seed % 2**31, **points)
    kmeans.train(matrix.whole(), init_centroids=start)
    return np.asarray(kmeans.centroids, dtype=np.float32).reshape(start.shape)
