"""The command line: parse, call, print. Everything it does can be done from Python."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hf_select import __version__
from hf_select.errors import ArgumentError, HfSelectError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Choose which speech data is worth training on.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DATASET = Annotated[
    str, typer.Argument(help="Hub name, folder of sound files, saved dataset, or .parquet/.arrow/.csv file.")
]
CONFIG = Annotated[str | None, typer.Option(help="Configuration of a Hub dataset.")]
SPLIT = Annotated[str | None, typer.Option(help="Split; the only one, or train, if not given.")]
REVISION = Annotated[str | None, typer.Option(help="Commit, tag or branch of a Hub dataset.")]
AUDIO = Annotated[str | None, typer.Option(help="The audio column, where its type does not tell.")]
LABEL = Annotated[
    str | None, typer.Option(help="Column to count by; 'label' or the first column of classes if not given.")
]
THREADS = Annotated[int | None, typer.Option(min=1, help="Threads that decode audio.")]
LONGEST = Annotated[float, typer.Option(min=0.1, help="Longer clips (in seconds) are not decoded and never selected.")]
AS_JSON = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
QUIET = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
OVERWRITE = Annotated[bool, typer.Option("--overwrite", help="Replace the folder, once the new one is whole.")]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
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
    scores: Annotated[
        list[Path] | None,
        typer.Option(help="Folder that `hf-select score` wrote: its columns can be selected by (repeatable)."),
    ] = None,
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
    overwrite: OVERWRITE = False,
    as_json: AS_JSON = False,
    quiet: QUIET = False,
) -> None:
    """Keep a part of a dataset, and say what was kept and why."""
    from hf_select import prune as road
    from hf_select.export import check_output
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
    _progress(not quiet)
    source = open_dataset(dataset, config=config, split=split, revision=revision, audio=audio)
    plan = road.make_plan(source, job)
    if dry_run:
        _show({"plan": plan.__dict__} if as_json else f"Plan: {plan}", as_json)
        return
    typer.echo(f"Plan: {plan}", err=True)
    pruned = road.prune(source, job)
    if out is not None:
        road.write(pruned, source, job, out, overwrite=overwrite)
    _show({**pruned.summary, "out": str(out) if out else None} if as_json else road.describe(pruned, out), as_json)


@app.command()
def score(
    dataset: DATASET,
    model: Annotated[str, typer.Option(help="Hub name or folder of a speech model.")],
    columns: Annotated[
        list[str], typer.Option(help="What to make (repeatable, or with commas): embedding, probs, loss, wer, ...")
    ],
    out: Annotated[Path, typer.Option(help="Folder for scores.arrow and scores.json; finished rows are kept there.")],
    processor: Annotated[
        str | None, typer.Option(help="Hub name or folder of its processor, if not the model's.")
    ] = None,
    label: Annotated[str, typer.Option(help="Column of labels, matched by name with the model's.")] = "label",
    text: Annotated[str, typer.Option(help="Column of what is said.")] = "text",
    batch_size: Annotated[int, typer.Option(min=1, help="Clips in a forward pass, at most.")] = 8,
    prefix: Annotated[str, typer.Option(help="Goes before the name of each column.")] = "",
    layer: Annotated[
        int | None, typer.Option(help="Hidden state of the embedding; the encoder's output if not given.")
    ] = None,
    pool: Annotated[str, typer.Option(help="'mean' over real frames, or 'none': all frames.")] = "mean",
    grid: Annotated[
        float | None, typer.Option(help="Fill clips up with silence to a multiple of so many seconds.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16, ...; as the checkpoint is, if not given.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; a GPU where there is one, if not given.")] = None,
    model_revision: Annotated[str | None, typer.Option(help="Commit, tag or branch of the model.")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run the model's own code; needs --model-revision, a commit.")
    ] = False,
    config: CONFIG = None,
    split: SPLIT = None,
    revision: REVISION = None,
    audio: AUDIO = None,
    max_seconds: LONGEST = 600.0,
    num_threads: THREADS = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan (rows, hours, GB, minutes) and leave.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other scores in the folder.")] = False,
    as_json: AS_JSON = False,
    quiet: QUIET = False,
) -> None:
    """Add what a speech model says about each row; under torchrun or accelerate launch all processes share the work."""
    from hf_select.scoring import in_words, plan_score, summarize
    from hf_select.scoring import score as run
    from hf_select.sources import open_dataset

    first = os.environ.get("RANK", "0") == "0"
    _progress(not quiet and first)
    source = open_dataset(dataset, config=config, split=split, revision=revision, audio=audio)
    names = [name.strip() for entry in columns for name in entry.split(",")]
    arguments: dict[str, Any] = {
        **{"columns": names, "label": label, "text": text, "batch_size": batch_size, "prefix": prefix, "layer": layer},
        **{"pool": pool, "grid": grid, "dtype": dtype, "device": device, "audio": source.audio, "out": out},
        **{"audio_root": source.audio_root, "max_seconds": max_seconds, "num_threads": num_threads},
        **{"revision": model_revision, "trust_remote_code": trust_remote_code, "overwrite": overwrite},
    }
    if dry_run:
        plan = plan_score(source.ds, model, processor, **arguments)
        if first:
            _show({"plan": plan.__dict__} if as_json else f"Plan: {plan}", as_json)
        return
    scored = run(source.ds, model, processor, on_plan=lambda plan: _say(f"Plan: {plan}", first), **arguments)
    summary = {**summarize(scored, [prefix + name for name in names]), "out": str(out)}
    if first:
        use = f"Written to {out}: scores.arrow, scores.json. Next: hf-select prune {dataset} --scores {out} ..."
        _show(summary if as_json else f"{in_words(summary)}\n{use}", as_json)


@app.command()
def check(
    dataset: DATASET,
    label: LABEL = None,
    speaker: Annotated[str | None, typer.Option(help="Column of speakers.")] = None,
    config: CONFIG = None,
    split: SPLIT = None,
    revision: REVISION = None,
    audio: AUDIO = None,
    max_seconds: LONGEST = 600.0,
    num_threads: THREADS = None,
    as_json: AS_JSON = False,
    quiet: QUIET = False,
) -> None:
    """Say what to know before selecting: unreadable, silent and clipped clips, wrong durations, doubled audio, hours per label."""
    from hf_select.check import check as look
    from hf_select.sources import open_dataset

    _progress(not quiet)
    source = open_dataset(dataset, config=config, split=split, revision=revision, audio=audio)
    report = look(
        source.ds,
        column=source.audio,
        label=label,
        speaker=speaker,
        audio_root=source.audio_root,
        max_seconds=max_seconds,
        num_threads=num_threads,
    )
    for note in source.notes:
        typer.echo(f"note: {note}", err=True)
    _show(report.to_dict() if as_json else str(report), as_json)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("hf-select-demo"),
    clips: Annotated[int, typer.Option(min=200, help="Clips to synthesise.")] = 2000,
    budget: Annotated[str, typer.Option(help="What to keep of the training set.")] = "0.7",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds to train each model with.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the corpus.")] = 0,
    overwrite: OVERWRITE = False,
    quiet: QUIET = False,
) -> None:
    """Make a small corpus of spoken commands, prune it, train on the pruned, a random and the full set, and compare."""
    from hf_select.demo.run import run_demo

    _progress(not quiet)
    typer.echo(run_demo(out, clips=clips, budget=budget, seeds=seeds, seed=seed, overwrite=overwrite))


def main() -> None:
    """Run the command line: an error of ours is one message and exit code 1; after Ctrl-C (130) it says how to go on."""
    try:
        app()
    except HfSelectError as error:
        typer.echo(f"Error: {_plain(str(error))}", err=True)
        sys.exit(1)
    except SystemExit as leaving:
        if leaving.code == 130:
            typer.echo("Stopped. Finished rows are kept: run the same command to continue.", err=True)
        raise


def _count(option: str, text: str) -> int:
    if not text.isdecimal():
        raise ArgumentError(f"{option} is a whole number, or 'auto'; got {text!r}.")
    return int(text)


def _say(text: str, wanted: bool) -> None:
    if wanted:
        typer.echo(text, err=True)


def _progress(wanted: bool) -> None:
    import datasets

    if not wanted:
        datasets.disable_progress_bars()


def _show(what: Any, as_json: bool) -> None:
    typer.echo(json.dumps(what, indent=2) if as_json else _plain(what))


def _plain(text: str) -> str:
    """Neutralise what a label or a file name could do to a terminal: control and direction characters."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
