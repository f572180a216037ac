"""How many clusters? See what their number does before one is chosen."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from hf_select.budget import cut
from hf_select.choice import Choice, rank
from hf_select.clustering.agreement import mean_overlap, mean_rand_index
from hf_select.clustering.lloyd import Fit, Kind, fit
from hf_select.clustering.vectors import Recipe, Vectors, check_clusters, check_kind, open_vectors
from hf_select.counts import balance
from hf_select.errors import ArgumentError, OutputError
from hf_select.readers import read_groups, read_seconds
from hf_select.report.sweep import plot_sweep

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ClusterSweep", "sweep_clusters"]

log = logging.getLogger("hf_select")

_SPREAD = (0.25, 0.5, 1, 2, 4)  # numbers to try around the suggested one


@dataclass(frozen=True)
class ClusterSweep:
    """What `sweep_clusters` found: a line for each number of clusters.

    Attributes:
        lines: n_clusters; inertia and inertia_deviation over seeds; explained (1 - inertia / inertia of one cluster:
            with means, the share of variance that lies between clusters); balance_simple and balance_hard (of the rows
            kept by either `drop`, mean over seeds; NaN without labels); rand_index (adjusted, of the clusterings of two
            seeds), overlap_simple and overlap_hard (Jaccard index of the rows kept with two seeds), means over all
            pairs, NaN with one seed; seconds of one clustering.
        suggested: the number of clusters that `n_clusters="auto"` takes. why: how it comes about.
        balance_of_all: balance of the labels before anything is removed, None without labels.
        settings: the arguments. notes: sentences about single clusterings. facts: about memory and components.
    """

    lines: tuple[dict[str, float], ...]
    suggested: int
    why: str
    balance_of_all: float | None
    settings: dict[str, Any]
    notes: tuple[str, ...]
    facts: dict[str, Any]

    def to_pandas(self) -> pd.DataFrame:
        """Return the lines as a table."""
        import pandas as pd

        return pd.DataFrame(list(self.lines))

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw the table as a matplotlib Figure, and write it if a path is given; see `hf_select.report.plot_sweep`."""
        return plot_sweep(self.to_pandas(), self.suggested, balance_of_all=self.balance_of_all, path=path)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write `sweep.csv`, `sweep.md` and `sweep.png` into a folder, which is made if need be, and return it.

        Raises:
            OutputError: they can't be written.
        """
        home = Path(folder)
        try:
            home.mkdir(parents=True, exist_ok=True)
            self.to_pandas().to_csv(home / "sweep.csv", index=False)
            (home / "sweep.md").write_text(self._markdown(), encoding="utf-8", newline="\n")
        except OSError as error:
            raise OutputError(f"The sweep can't be written to {home}: {error}.") from error
        self.plot(home / "sweep.png")
        return home

    def __str__(self) -> str:
        shown = self.to_pandas().dropna(axis="columns", how="all").to_string(index=False, float_format="{:.5g}".format)
        return "\n".join([shown, *self._sentences()])

    def _sentences(self) -> list[str]:
        of_all = [] if self.balance_of_all is None else [f"Balance of all rows: {self.balance_of_all:.5f}."]
        return [f"Suggested: {self.suggested} clusters ({self.why}).", *of_all, *self.notes]

    def _markdown(self) -> str:
        table = self.to_pandas().dropna(axis="columns", how="all")
        lines = [table.columns.tolist(), ["---"] * len(table.columns)]
        lines += [[f"{value:.5g}" if value % 1 else f"{value:.0f}" for value in row] for row in table.to_numpy(float)]
        text = ["| " + " | ".join(line) + " |" for line in lines]
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        return "\n".join([*text, "", *self._sentences(), "", f"    {settings}", ""])


def sweep_clusters(
    ds: Any,
    n_clusters: Sequence[int] | None = None,
    *,
    budget: Any,
    column: str = "embedding",
    label: str | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    metric: Literal["euclidean", "cosine", "manhattan"] = "euclidean",
    medoids: bool = False,
    pca: int | float | None = None,
    standardize: Literal["features", "rows"] | None = None,
    n_init: int = 1,
    max_iter: int = 100,
    tol: float = 0.0,
    explained_variance: float = 0.8,
    backend: Literal["sklearn", "faiss"] = "sklearn",
    memory: int | str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    duration: str = "duration",
    status: str | None = "audio_status",
) -> ClusterSweep:
    """Cluster with several numbers of clusters and seeds, and show what the number does to the rows that are kept.

    No column of the table says which number is right. Inertia falls with every further cluster, down to 0 where each
    row is its own; so does `explained` rise. What can be looked for: a number beyond which `explained` gains little,
    rows kept that don't hang on the seed (two choices of a share b by chance overlap by b / (2 - b)), and a balance near
    that of all rows. The suggested number is a rule of thumb, and never above the number of dimensions. The last word has
    a model trained on the rows.

    Reads:
        `column`, once: one vector per row, as `select_kmeans`. `label`, if given: one value per row.

    Args:
        ds: a map-style dataset.
        n_clusters: the numbers to try; None: a quarter, half, once, twice and four times the suggested one.
        budget: what would be kept, in any form of `hf_select.budget`.
        column: the column of vectors.
        label: the column whose balance is counted; None: none is.
        seeds: a clustering is made with each.
        metric, medoids, pca, standardize, n_init, max_iter, tol, explained_variance, backend, memory, cache_dir: as in
            `select_kmeans`. duration, status: as there.

    Returns:
        A `ClusterSweep`, which prints as a table. The rows kept with a number and a seed are those of `select_kmeans`
        with the same arguments.

    Raises:
        ArgumentError: no seeds, a number above that of the rows, and what `select_kmeans` refuses.
        ColumnError: no such column, or no vectors.

    Reference:
        Bergsma et al., Cluster-based pruning techniques for audio data, section 3.2: principal components for the number
        of clusters, and balance.

    Relations:
        `select_kmeans(n_clusters="auto")` takes `ClusterSweep.suggested`.

    Example:
        >>> from datasets import Dataset
        >>> ds = Dataset.from_dict({"embedding": [[0.0, 1.0], [0.1, 1.0], [0.0, 5.0], [9.0, 5.1], [9.1, 1.0], [9.0, 1.2]]})
        >>> sweep = sweep_clusters(ds, [2, 3], budget=0.5, seeds=(0, 1))
        >>> sweep.to_pandas()["n_clusters"].tolist(), sweep.suggested
        ([2, 3], 2)
    """
    settings = {"budget": budget, "column": column, "label": label, "seeds": [int(seed) for seed in seeds]}
    settings |= {"metric": metric, "medoids": medoids, "pca": pca, "standardize": standardize, "n_init": n_init}
    settings |= {"max_iter": max_iter, "tol": tol, "explained_variance": explained_variance, "backend": backend}
    if not len(seeds) or not all(_is_seed(seed) for seed in seeds):
        raise ArgumentError(f"seeds are whole numbers of at least 0, one or more; got {seeds!r}.")
    for number in n_clusters or ():
        check_clusters(number)
    kind = Kind(metric, medoids, backend, n_init, max_iter, tol)
    check_kind(kind)
    recipe = Recipe(column, standardize, pca, explained_variance, memory, cache_dir)
    choice = Choice(ds, "sweep_clusters", {}, budget=budget, seed=seeds[0], duration=duration, status=status)
    labels = None if label is None else read_groups(ds, label, "label=")

    most = max(map(int, n_clusters)) if n_clusters else None
    with open_vectors(choice, recipe, kind, clusters=most, suggest=True) as vectors:
        suggested, why = vectors.suggest(explained_variance)
        numbers = sorted(set(map(int, n_clusters or _around(suggested, len(vectors.rows)))))
        vectors.check_room(numbers[-1])
        trial = _Trial(choice, vectors, kind, labels, duration)
        lines, notes = trial.lines(numbers, list(map(int, seeds)))
    of_all = None if labels is None else balance(labels)
    return ClusterSweep(lines, suggested, why, of_all, settings, notes, vectors.facts)


def _is_seed(seed: Any) -> bool:
    return isinstance(seed, (int, np.integer)) and not isinstance(seed, bool) and bool(seed >= 0)


def _around(suggested: int, rows: int) -> list[int]:
    return [min(rows, max(2, round(suggested * times))) for times in _SPREAD]


@dataclass
class _Trial:
    """Clusterings of the same vectors, and what would be kept by each."""

    choice: Choice
    vectors: Vectors
    kind: Kind
    labels: NDArray[np.object_] | None
    duration: str

    def __post_init__(self) -> None:
        self.classes = None if self.labels is None else np.unique(self.labels)
        in_time = self.choice.budget.kind == "seconds"
        self.seconds = read_seconds(self.choice.ds, self.duration) if in_time else None

    def lines(self, numbers: list[int], seeds: list[int]) -> tuple[tuple[dict[str, float], ...], tuple[str, ...]]:
        """Return (a line for each number, notes)."""
        total = fit(self.vectors.matrix, 1, self.kind, seeds[0]).inertia
        lines, notes = [], []
        for number in numbers:
            started = time.perf_counter()
            fits = [fit(self.vectors.matrix, number, self.kind, seed) for seed in seeds]
            seconds = (time.perf_counter() - started) / len(seeds)
            log.info("%d clusters: %.1f s for each of %d seeds.", number, seconds, len(seeds))
            inertia = np.array([found.inertia for found in fits])
            line = {"n_clusters": number, "inertia": float(inertia.mean()), "inertia_deviation": float(inertia.std())}
            line["explained"] = 1 - line["inertia"] / total if total > 0 else float("nan")
            line |= self._of_kept(fits) | {"seconds": round(seconds, 3)}
            lines.append(line)
            notes += [
                f"{number} clusters, seed {s}: {note}" for s, f in zip(seeds, fits, strict=True) for note in f.notes
            ]
        return tuple(lines), tuple(notes)

    def _of_kept(self, fits: list[Fit]) -> dict[str, float]:
        kept = {
            "simple": [self._kept(found, found.distance) for found in fits],
            "hard": [self._kept(found, -found.distance) for found in fits],
        }
        line = {f"balance_{drop}": self._balance(masks) for drop, masks in kept.items()}
        line["rand_index"] = mean_rand_index([found.labels for found in fits])
        return line | {f"overlap_{drop}": mean_overlap(masks) for drop, masks in kept.items()}

    def _kept(self, found: Fit, score: NDArray[np.float64]) -> NDArray[np.bool_]:
        rows, number = self.vectors.rows, len(self.choice.ds)
        clusters = np.full(number, -1, dtype=np.int64)
        clusters[rows] = found.labels
        ranking = rows[rank(score)]
        kept = np.zeros(number, dtype=bool)
        kept[cut(self.choice.budget, ranking, num_rows=number, clusters=clusters, seconds=self.seconds).rows] = True
        return kept

    def _balance(self, masks: list[NDArray[np.bool_]]) -> float:
        if self.labels is None:
            return float("nan")
        return float(np.mean([balance(self.labels[mask], self.classes) for mask in masks]))
