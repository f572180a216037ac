"""`hf-select score`: add what a speech model says about each row."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from hf_select.cli.options import AS_JSON, AUDIO, CONFIG, DATASET, LONGEST, QUIET, REVISION, SPLIT, THREADS
from hf_select.cli.printing import progress, say, show

__all__ = ["score"]


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
    progress(not quiet and first)
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
            show({"plan": plan.__dict__} if as_json else f"Plan: {plan}", as_json)
        return
    scored = run(source.ds, model, processor, on_plan=lambda plan: say(f"Plan: {plan}", first), **arguments)
    summary = {**summarize(scored, [prefix + name for name in names]), "out": str(out)}
    if first:
        use = f"Written to {out}: scores.arrow, scores.json. Next: hf-select prune, or subgroups, {dataset} --scores {out} ..."
        show(summary if as_json else f"{in_words(summary)}\n{use}", as_json)
