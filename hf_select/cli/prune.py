"""`hf-select prune`: keep a part of a dataset."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from hf_select.cli.options import (
    AS_JSON,
    AUDIO,
    CONFIG,
    CONFIG_NAME,
    DATASET,
    DEFAULT,
    LABEL,
    LICENCE,
    LONGEST,
    PRIVATE,
    QUIET,
    REVISION,
    ROWS,
    SCORES,
    SPLIT,
    THREADS,
)
from hf_select.cli.printing import progress, say, show
from hf_select.cli.publish import in_words
from hf_select.errors import ArgumentError

__all__ = ["prune"]


def prune(
    dataset: DATASET,
    budget: Annotated[
        str, typer.Option(help="What to KEEP: a share (0.7, 70%), rows (500) or audio (2.5h, 90min, 600s).")
    ],
    method: Annotated[str, typer.Option(help="kmeans, random or score.")] = "kmeans",
    out: Annotated[
        Path | None, typer.Option(help="Folder for the smaller dataset, the Selection and the report.")
    ] = None,
    per: Annotated[str | None, typer.Option(help="Apply the budget inside each group of this column.")] = None,
    column: Annotated[
        str | None, typer.Option(help="Column of vectors (kmeans) or numbers (score); MFCC if not given.")
    ] = None,
    n_clusters: Annotated[
        str | None,
        typer.Option(
            help="Clusters: a number, or 'auto' (explained variance); 20 rows each, at most 155, if not given."
        ),
    ] = None,
    drop: Annotated[str, typer.Option(help="kmeans: remove 'simple' (typical) or 'hard' rows.")] = "simple",
    metric: Annotated[str, typer.Option(help="kmeans: euclidean, cosine or manhattan.")] = "euclidean",
    medoids: Annotated[bool, typer.Option("--medoids", help="kmeans: centres are rows (k-medoids).")] = False,
    backend: Annotated[str, typer.Option(help="kmeans: sklearn or faiss.")] = "sklearn",
    memory: Annotated[
        str | None, typer.Option(help="kmeans: the most memory to take, such as 2GB; vectors then go to disk.")
    ] = None,
    pca: Annotated[
        float | None, typer.Option(help="kmeans: components (whole number) or share of variance to keep.")
    ] = None,
    standardize: Annotated[
        str | None, typer.Option(help="kmeans: 'features' or 'rows' first; features for MFCC, if not given.")
    ] = None,
    scores: SCORES = None,
    keep: Annotated[str, typer.Option(help="score: keep the 'highest' or 'lowest'.")] = "highest",
    seed: Annotated[int, typer.Option(min=0, help="Seed of all chance.")] = 0,
    key: Annotated[str | None, typer.Option(help="Column of unique ids.")] = None,
    duration: Annotated[
        str | None, typer.Option(help="Column of seconds; what was decoded, or 'duration' in a table, if not given.")
    ] = None,
    label: LABEL = None,
    by: Annotated[
        list[str] | None, typer.Option(help="Further column to count kept and total rows by (repeatable).")
    ] = None,
    config: CONFIG = None,
    split: SPLIT = None,
    revision: REVISION = None,
    audio: AUDIO = None,
    max_seconds: LONGEST = 600.0,
    num_threads: THREADS = None,
    umap: Annotated[bool, typer.Option("--umap", help="Draw the picture by UMAP instead of PCA.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan (rows, GB, minutes) and leave.")] = False,
    push_to: Annotated[
        str | None, typer.Option(help="Publish to name/repository on the Hub (log in by `hf auth login`, or HF_TOKEN).")
    ] = None,
    config_name: CONFIG_NAME = None,
    rows: ROWS = None,
    licence: LICENCE = None,
    private: PRIVATE = None,
    default: DEFAULT = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace the folder, once the new one is whole, and the published subset."),
    ] = False,
    as_json: AS_JSON = False,
    quiet: QUIET = False,
) -> None:
    """Keep a part of a dataset, and say what was kept and why."""
    from hf_select import prune as road
    from hf_select.export import check_output
    from hf_select.hub.publish import check_publish, publish
    from hf_select.sources import open_dataset

    if out is not None:
        check_output(out, overwrite=overwrite)  # now, not after the work
    arguments: dict[str, Any] = {"per": per, "seed": seed, "column": column, "key": key, "duration": duration}
    if method == "kmeans":
        components = int(pca) if pca is not None and pca >= 1 and float(pca).is_integer() else pca
        arguments |= {"n_clusters": n_clusters, "drop": drop, "metric": metric, "pca": components}
        arguments |= {"standardize": standardize, "medoids": medoids, "backend": backend, "memory": memory}
        if n_clusters is not None and n_clusters != "auto":
            arguments["n_clusters"] = _count("--n-clusters", n_clusters)
    elif method == "score":
        arguments |= {"keep": keep}
    if scores and method == "kmeans" and column is None:
        arguments["column"] = "embedding"
    given = {name: value for name, value in arguments.items() if value is not None}
    job = road.Pruning(
        method,
        budget,
        given,
        label=label,
        by=tuple(by or ()),
        max_seconds=max_seconds,
        num_threads=num_threads,
        umap=umap,
        scores=tuple(scores or ()),
    )
    progress(not quiet)
    source = open_dataset(dataset, config=config, split=split, revision=revision, audio=audio)
    plan = road.make_plan(source, job)
    if dry_run:
        show({"plan": plan.__dict__} if as_json else f"Plan: {plan}", as_json)
        return
    say(f"Plan: {plan}")
    terms: dict[str, Any] = {"config_name": config_name, "rows": rows, "licence": licence, "private": private}
    if push_to is not None:
        check_publish(source.ds, push_to, **terms)  # now, not after the work
    pruned = road.prune(source, job)
    if out is not None:
        road.write(pruned, source, job, out, overwrite=overwrite)
    published = None
    if push_to is not None:
        terms |= {
            "label": label or road.find_label(source.ds),
            "by": job.by,
            "default": default,
            "overwrite": overwrite,
        }
        published = publish(source.ds, pruned.selection, push_to, audio_root=source.audio_root, **terms)
    if as_json:
        on_hub = asdict(published) if published else None
        show({**pruned.summary, "out": str(out) if out else None, "published": on_hub}, as_json)
        return
    lines = [road.describe(pruned, out)] if out or not published else [str(pruned.selection)]
    show("\n".join([*lines, *([in_words(published)] if published else [])]), as_json)


def _count(option: str, text: str) -> int:
    if not text.isdecimal():
        raise ArgumentError(f"{option} is a whole number, or 'auto'; got {text!r}.")
    return int(text)
