"""The whole road of `hf-select prune`: open a dataset, compute thin columns, select, write the smaller dataset."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_select.budget import Budget
from hf_select.columns import with_columns
from hf_select.counts import balance
from hf_select.errors import ArgumentError, ColumnError
from hf_select.export import folder_page, new_folder, write_parquet
from hf_select.hub.policy import with_origin
from hf_select.metadata import missing_metadata
from hf_select.methods import select_by_score, select_kmeans, select_random, select_subgroups
from hf_select.readers import read_groups, read_seconds
from hf_select.report import write_report
from hf_select.rows import audio_lengths, raw_column
from hf_select.scoring import load_scores
from hf_select.scoring import recipe as scoring_recipe
from hf_select.selection import Selection
from hf_select.sources import Source
from hf_select.subgroups.subgroup import Subgroup
from hf_select.transforms import MFCC, Duration

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["Plan", "Pruned", "Pruning", "describe", "make_plan", "prune", "thin_columns", "write"]

SECONDS = "decoded_seconds"  # what was really decoded; a `duration` column of the dataset may say something else
VECTOR = "mfcc_stats"
_METHODS: dict[str, Callable[..., Selection]] = {
    "kmeans": select_kmeans,
    "random": select_random,
    "score": select_by_score,
    "subgroups": select_subgroups,
}


@dataclass(frozen=True)
class Pruning:
    """What to do: a method, its budget and arguments, and how to read the dataset.

    Attributes:
        method: "kmeans", "random", "score" or "subgroups".
        budget: in any form, see `hf_select.budget`; for subgroups also None, all their rows.
        arguments: further arguments of the selector, such as n_clusters, drop, column, seed, per, key.
        label: the column the report counts; None: "label", or the first column of classes.
        by: further columns the report counts.
        max_seconds: longer clips are not decoded and never selected.
        num_threads: threads that decode.
        umap: draw the rows by UMAP instead of PCA.
        scores: folders that `score` wrote, whose columns can be selected by.
        text: the column of what is said, where subgroups are made of words per second.
    """

    method: str
    budget: Any
    arguments: dict[str, Any] = field(default_factory=dict)
    label: str | None = None
    by: tuple[str, ...] = ()
    max_seconds: float = 600.0
    num_threads: int | None = None
    umap: bool = False
    scores: tuple[Path, ...] = ()
    text: str | None = None

    @property
    def everything(self) -> bool:
        """Whether all rows of the subgroups are taken."""
        return self.method == "subgroups" and self.budget is None

    @property
    def attributes(self) -> list[str]:
        """The columns that subgroups are made of."""
        return sorted({name for group in self.arguments.get("subgroups", ()) for name in group.pattern})


@dataclass(frozen=True)
class Plan:
    """What a run will take, estimated from a few of its rows."""

    rows: int
    gigabytes: float
    minutes: float
    keeps: str

    def __str__(self) -> str:
        return f"{self.rows} rows, {self.gigabytes:.2f} GB of audio, about {max(self.minutes, 0.1):.1f} min; keeps {self.keeps}"


@dataclass(frozen=True)
class Pruned:
    """What came out: the Selection, the columns it was made on, and the smaller dataset."""

    selection: Selection
    columns: Dataset
    dataset: Dataset
    summary: dict[str, Any]


def make_plan(source: Source, job: Pruning) -> Plan:
    """Estimate rows, GB and minutes by timing the transforms on a few rows spread over the dataset."""
    _check_job(source, job)
    ds, name = source.ds, source.audio
    minutes = size = 0.0
    if name is not None:
        size = _audio_bytes(source, name)
        rows = np.unique(np.linspace(0, len(ds) - 1, min(len(ds), 48)).astype(int))
        sample = ds.with_format(None).select_columns([name]).select(rows)
        batch = {name: raw_column(sample, name).to_pylist()}
        with ThreadPoolExecutor(1) as worker:  # so that Ctrl-C is not lost in a callback of libsndfile
            for transform in _transforms(source, job):
                worker.submit(transform, batch).result()  # the first call loads libraries and makes filters
                started = time.perf_counter()
                worker.submit(transform, batch).result()
                minutes += (time.perf_counter() - started) / len(rows) * len(ds) / 60
    keeps = "all rows of the subgroups" if job.everything else str(Budget.parse(job.budget))
    return Plan(len(ds), size / 1e9, minutes / (job.num_threads or 1), keeps)


def prune(source: Source, job: Pruning) -> Pruned:
    """Compute the columns a method needs, select, and cut the dataset: nothing is written but caches.

    Raises:
        HfSelectError: what is wrong, what was seen, what to do.
    """
    _check_job(source, job)
    ds, columns = source.ds, _columns(source, job)
    arguments = {"key": source.key, **job.arguments}
    if source.audio is not None:
        arguments.setdefault("duration", SECONDS if SECONDS in columns.column_names else "duration")
    if job.method == "kmeans":
        arguments.setdefault("column", VECTOR)
        arguments.setdefault("n_clusters", clusters_for(len(ds)))
        if arguments["column"] == VECTOR:
            arguments.setdefault("standardize", "features")  # coefficients differ in scale by a factor of hundreds
    selection = with_origin(_METHODS[job.method](columns, budget=job.budget, **arguments), ds)
    if source.audio is not None:
        selection.facts["recipe"] = _recipe(source, job)
    selection.facts["prune"] = {"max_seconds": job.max_seconds, "text": job.text}
    small = selection.apply(ds)
    return Pruned(selection, columns, small, _summary(source, job, columns, selection))


def write(pruned: Pruned, source: Source, job: Pruning, out: Path, *, overwrite: bool = False) -> Path:
    """Write the smaller dataset, the Selection, the report and its pictures into a folder, whole or not at all."""
    with new_folder(out, overwrite=overwrite) as folder:
        write_parquet(pruned.dataset, folder, audio_root=source.audio_root)
        pruned.selection.save(folder)
        vector = pruned.selection.params.get("column") if job.method == "kmeans" else None
        label = job.label or find_label(source.ds)
        recipe = pruned.selection.facts.get("recipe")
        made = {"Columns it was made on": recipe} if recipe else {}
        write_report(
            pruned.columns,
            pruned.selection,
            folder,
            by=list(job.by),
            column=vector,
            label=label,
            umap=job.umap,
            extra=made,
        )
        small = f"{len(pruned.selection)} of {pruned.selection.num_rows}"
        page = folder_page(f"{small} rows, chosen by hf_select: see [report.md](report.md).")
        (folder / "README.md").write_text(page, encoding="utf-8")
    return out


def thin_columns(
    source: Source, selection: Selection, *, scores: Sequence[Path] = (), num_threads: int | None = None
) -> Any:
    """Compute the columns again that `prune` made a Selection on.

    Args:
        source: the dataset that was selected from.
        selection: what was kept of it; made by something else, it has no columns of `prune`.
        scores: folders that `score` wrote, whose columns were selected by.
        num_threads: threads that decode.
    """
    how = selection.facts.get("prune")
    method = selection.method.removeprefix("select_")
    if how is None or method not in _METHODS:
        return _with_scores(source, scores)
    arguments = {name: value for name, value in selection.params.items() if name == "column" and value != VECTOR}
    if "subgroups" in selection.params:
        arguments["subgroups"] = [Subgroup.from_dict(values) for values in selection.facts["subgroups"]]
    job = Pruning(method, None, arguments, num_threads=num_threads, scores=tuple(scores), **how)
    return _columns(source, job)


def _columns(source: Source, job: Pruning) -> Any:
    """Add what a method reads to a dataset: scores that were made before, and what the one transform finds."""
    columns, transforms = _with_scores(source, job.scores), _transforms(source, job)
    if not transforms:
        return columns
    return with_columns(columns, *transforms, overwrite=True, num_threads=job.num_threads)


def _with_scores(source: Source, folders: Sequence[Path]) -> Any:
    columns = source.ds
    for folder in folders:
        columns = load_scores(columns, folder, audio=source.audio)
    return columns


def clusters_for(rows: int) -> int:
    """Return a number of clusters where none was given: 20 rows a cluster, at most the paper's 155. The 20 are ours."""
    return max(1, min(155, rows // 20))


def find_label(ds: Any) -> str | None:
    """Return "label" if there is such a column, else the first column of classes, else None."""
    if "label" in ds.column_names:
        return "label"
    return next((str(name) for name, feature in ds.features.items() if hasattr(feature, "int2str")), None)


def _check_job(source: Source, job: Pruning) -> None:
    if not job.everything:
        Budget.parse(job.budget)
    if job.method not in _METHODS:
        raise ArgumentError(f"There is no method {job.method!r}. Methods there are: {', '.join(_METHODS)}.")
    if job.method == "subgroups" and "subgroups" not in job.arguments:
        raise ArgumentError("Subgroups are given to `hf-select acquire`, which takes their rows.")
    if job.method == "score" and not job.arguments.get("column"):
        raise ArgumentError("The method 'score' needs --column naming the numbers to rank by.")
    if source.audio is None and job.method == "kmeans" and not job.arguments.get("column"):
        there = ", ".join(source.ds.column_names)
        raise ColumnError(
            f"{source.name} has no audio column. Name it with --audio, or vectors with --column. Columns there are: {there}."
        )
    for name in (job.label, *job.by):
        if name is not None and name not in source.ds.column_names:
            raise ColumnError(f"There is no column {name!r}. Columns there are: {', '.join(source.ds.column_names)}.")


def _audio_bytes(source: Source, name: str) -> float:
    """Return the bytes of all audio: those in the table, and those of the files that the folder reader found."""
    size = float(np.maximum(audio_lengths(source.ds, name), 0).sum())
    if source.audio_root is not None:
        root = Path(source.audio_root)
        files = (root / name for name in raw_column(source.ds, "file_name").to_pylist())
        size += sum(file.stat().st_size for file in files if file.resolve().is_relative_to(root) and file.is_file())
    return size


def _transforms(source: Source, job: Pruning) -> list[Any]:
    """Return the one transform that decodes: every clip is looked at, so that a bad one is never selected."""
    if source.audio is None:
        return []
    where: dict[str, Any] = {"column": source.audio, "audio_root": source.audio_root, "max_seconds": job.max_seconds}
    if job.method == "kmeans" and not job.arguments.get("column"):
        return [MFCC(pool="stats", duration_column=SECONDS, **where)]
    if (metadata := missing_metadata(source, job.attributes, text=job.text, max_seconds=job.max_seconds)) is not None:
        return [metadata]
    return [Duration(duration_column=SECONDS, **where)]


def _recipe(source: Source, job: Pruning) -> str:
    """Return the Python that computes the columns, without the folder they were computed in."""
    scored = "".join(f"{scoring_recipe(folder)}\n" for folder in job.scores)
    calls = ", ".join(f"hs.{replace(transform, audio_root=None)!r}" for transform in _transforms(source, job))
    return f"{scored}ds = hs.with_columns(ds, {calls}, overwrite=True)"


def _summary(source: Source, job: Pruning, columns: Any, selection: Selection) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "source": source.name,
        **selection.record(),
        "rows": {"kept": len(selection), "total": selection.num_rows},
        "excluded": selection.excluded,
        "warnings": [*source.notes, *selection.warnings, *_liars(source.ds, columns)],
        "seconds": selection.seconds,
    }
    if "kept_hours" in selection.facts:
        summary["hours"] = {"kept": selection.facts["kept_hours"], "total": selection.facts["total_hours"]}
    label = job.label or find_label(source.ds)
    if label is not None:
        labels = read_groups(source.ds, label)
        classes = np.unique(labels)
        summary["balance"] = {"kept": balance(labels[selection.indices], classes), "total": balance(labels, classes)}
    return summary


def _liars(ds: Any, columns: Any) -> list[str]:
    """Compare a `duration` column of the dataset with what was decoded."""
    if "duration" not in ds.column_names or SECONDS not in columns.column_names:
        return []
    try:
        said, decoded = read_seconds(ds, "duration"), read_seconds(columns, SECONDS)
    except ColumnError as error:
        return [f"The dataset's own durations were not compared: {error}"]
    wrong = np.flatnonzero(np.abs(said - decoded) > 0.01 * decoded)
    if not len(wrong):
        return []
    row = int(wrong[0])
    return [
        f"{len(wrong)} rows have a `duration` that differs from the decoded length by more than 1 % (row {row}: {said[row]:.2f} s "
        f"said, {decoded[row]:.2f} s decoded). Budgets and hours count decoded seconds."
    ]


def describe(pruned: Pruned, out: Path | None) -> str:
    """Return what came out as text for a terminal."""
    summary = pruned.summary
    lines = [str(pruned.selection)]
    if "balance" in summary:
        lines.append(f"  balance {summary['balance']['kept']:.4f}, of all rows {summary['balance']['total']:.4f}")
    lines += [f"  note: {w}" for w in summary["warnings"] if w not in pruned.selection.warnings]
    if out is not None:
        lines.append(f"Written to {out}: data/, selection.json, selection.parquet, report.md, figures/.")
    else:
        lines.append("Nothing was written: pass --out to keep the smaller dataset, the Selection and the report.")
    return "\n".join(lines)
