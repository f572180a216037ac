"""From a column of vectors to a matrix that is ready to be clustered, within a limit of memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_select.choice import Choice
from hf_select.clustering.faiss_backend import import_faiss
from hf_select.clustering.lloyd import Kind
from hf_select.clustering.matrix import Matrix
from hf_select.clustering.memory import Need, check_room, folder_for, parse_memory
from hf_select.clustering.prepare import (
    SPECTRUM_ROWS,
    Spectrum,
    centre,
    number_of_clusters,
    reduce,
    spectrum,
    standardize,
    unit_length,
)
from hf_select.errors import ArgumentError
from hf_select.readers import vector_blocks

__all__ = ["Recipe", "Vectors", "backend_facts", "check_clusters", "check_kind", "open_vectors"]

_AUTO_CLUSTERS = 1024  # what room is planned for before their number is known


@dataclass(frozen=True)
class Recipe:
    """What is read, and what is done to it before clustering: the arguments of `select_kmeans` of the same names."""

    column: str
    standardize: str | None
    pca: int | float | None
    explained_variance: float
    memory: Any
    cache_dir: str | os.PathLike[str] | None

    def __post_init__(self) -> None:
        parse_memory(self.memory)
        _check_one_of(standardize=(self.standardize, ("features", "rows", None)))
        pca = self.pca
        if pca is not None and not _is_count(pca) and not (isinstance(pca, float) and 0 < pca < 1):
            raise ArgumentError(
                f"pca is a number of components, a share of variance between 0 and 1, or None; got {pca!r}."
            )
        share = self.explained_variance
        if not (isinstance(share, float) and 0 < share < 1):
            raise ArgumentError(f"explained_variance is a share of the variance between 0 and 1; got {share!r}.")


@dataclass
class Vectors:
    """A matrix ready to be clustered.

    Attributes:
        matrix: a row for each of `rows` of the dataset.
        rows: the rows that can be chosen.
        facts: for the record.
        spectrum: of the standardised vectors, where it was asked for.
        need: the memory that was planned for. limit: what there is.
    """

    matrix: Matrix
    rows: NDArray[np.int64]
    facts: dict[str, Any]
    spectrum: Spectrum | None
    need: Need
    limit: int | None

    def suggest(self, share: float) -> tuple[int, str]:
        """Return (number of clusters by explained variance, why)."""
        if self.spectrum is None:
            raise ValueError("Open the vectors with suggest=True.")
        number, why = number_of_clusters(self.spectrum, share, len(self.rows))
        self.check_room(number)
        return number, why

    def check_room(self, clusters: int) -> None:
        """Raise an ArgumentError when as many clusters don't fit into the limit."""
        need = replace(self.need, clusters=max(clusters, self.need.clusters))
        check_room(need, self.limit, on_disk=self.matrix.on_disk)


@contextmanager
def open_vectors(
    choice: Choice, recipe: Recipe, kind: Kind, *, clusters: int | None, suggest: bool
) -> Iterator[Vectors]:
    """Read the vectors once, set aside rows that can't be clustered, and prepare the others.

    Args:
        choice: rows are excluded there. recipe, kind: what for.
        clusters: the largest number that will be asked for; None: not known yet.
        suggest: whether `Vectors.suggest` will be asked.
    """
    rows, limit = len(choice.ds), parse_memory(recipe.memory)
    dimensions = next(vector_blocks(choice.ds, recipe.column))[1].shape[1]
    components = min(rows, dimensions, SPECTRUM_ROWS) if isinstance(recipe.pca, float) else recipe.pca
    most = min(_AUTO_CLUSTERS, rows, dimensions) if clusters is None else clusters
    need = Need(rows, dimensions, most, components, suggest or recipe.pca is not None, not kind.means)
    folder, facts = folder_for(need, limit, recipe.cache_dir)
    matrix = Matrix(rows, dimensions, folder)
    try:
        _read(choice, recipe.column, matrix, no_zeros=kind.metric == "cosine")
        rows_left = choice.rows
        if (clusters or 1) > len(rows_left):
            raise ArgumentError(
                f"n_clusters={clusters or 1} is more than the {len(rows_left)} rows that can be chosen: ask for fewer clusters."
            )
        matrix.keep(rows_left)
        standardize(matrix, recipe.standardize)
        found = spectrum(matrix, recipe.pca) if suggest or recipe.pca is not None else None
        if recipe.pca is not None and found is not None:
            matrix, of_pca = reduce(matrix, found)
            facts |= of_pca
        if kind.metric == "cosine":
            unit_length(matrix)
        elif recipe.pca is None:  # principal components are centred
            centre(matrix)
        yield Vectors(matrix, rows_left, facts, found, need, limit)
    finally:
        matrix.close()


def _read(choice: Choice, column: str, matrix: Matrix, *, no_zeros: bool) -> None:
    finite, zero = np.zeros(len(matrix), dtype=bool), np.zeros(len(matrix), dtype=bool)
    for places, block in vector_blocks(choice.ds, column, release=matrix.on_disk):
        matrix.put(places, block)
        finite[places] = np.isfinite(block).all(axis=1)
        zero[places] = ~block.any(axis=1)
    choice.exclude(~finite, f"no finite vector in {column}")
    if no_zeros:
        choice.exclude(zero, f"zero vector in {column}")


def check_clusters(n_clusters: Any, *also: Any) -> None:
    """Refuse what is no number of clusters, nor one of `also`."""
    if not _is_count(n_clusters) and not (isinstance(n_clusters, str) and n_clusters in also):
        or_else = "".join(f", or {name!r}" for name in also)
        raise ArgumentError(f"n_clusters is a whole number of at least 1{or_else}; got {n_clusters!r}.")


def check_kind(kind: Kind) -> None:
    """Refuse values outside their ranges, and combinations that there are not."""
    _check_one_of(
        metric=(kind.metric, ("euclidean", "cosine", "manhattan")),
        backend=(kind.backend, ("sklearn", "faiss")),
        medoids=(kind.medoids, (False, True)),
    )
    for name, value in (("n_init", kind.n_init), ("max_iter", kind.max_iter)):
        if not _is_count(value):
            raise ArgumentError(f"{name} is a whole number of at least 1; got {value!r}.")
    if isinstance(kind.tol, bool) or not isinstance(kind.tol, (int, float)) or not 0 <= kind.tol < np.inf:
        raise ArgumentError(f"tol is a number of at least 0; got {kind.tol!r}.")
    if kind.backend == "faiss":
        if not kind.means:
            raise ArgumentError("backend='faiss' knows means alone: use backend='sklearn' for medians and medoids.")
        import_faiss()


def backend_facts(kind: Kind) -> dict[str, str]:
    """Return the version of the backend, where the record of packages lacks it."""
    return {"faiss": str(import_faiss().__version__)} if kind.backend == "faiss" else {}


def _check_one_of(**choices: tuple[Any, tuple[Any, ...]]) -> None:
    for name, (value, legal) in choices.items():
        if not isinstance(value, (str, bool, type(None))) or value not in legal:
            raise ArgumentError(f"{name} is one of {', '.join(map(repr, legal))}; got {value!r}.")


def _is_count(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value >= 1)
