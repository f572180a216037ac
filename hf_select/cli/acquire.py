"""`hf-select acquire`: take the rows of a pool that belong to subgroups where a model fails."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hf_select.cli.options import (
    AS_JSON,
    AUDIO,
    CONFIG,
    DATASET,
    LABEL,
    LONGEST,
    OVERWRITE,
    QUIET,
    REVISION,
    SPLIT,
    THREADS,
)
from hf_select.cli.printing import progress, show

__all__ = ["acquire"]


def acquire(
    dataset: DATASET,
    subgroups: Annotated[
        Path, typer.Option(help="subgroups.json, or the folder it lies in, as `hf-select subgroups --out` wrote it.")
    ],
    budget: Annotated[
        str | None,
        typer.Option(
            help="Rows (500), a share of the pool (10%) or audio (1h); all rows of the subgroups, if not given."
        ),
    ] = None,
    worst: Annotated[int, typer.Option(min=1, help="Take rows of so many subgroups, the worst.")] = 5,
    redundancy: Annotated[
        float | None, typer.Option(min=0, help="Leave out subgroups with a condition that changes no more than this.")
    ] = None,
    max_q: Annotated[
        float | None, typer.Option(min=0, max=1, help="Leave out subgroups with a larger q, such as 0.05.")
    ] = None,
    min_speakers: Annotated[int | None, typer.Option(min=1, help="Leave out subgroups of fewer speakers.")] = None,
    fill: Annotated[
        str, typer.Option(help="What a budget takes first: 'worst_first', or 'proportional' to divergence x rows.")
    ] = "worst_first",
    out: Annotated[Path | None, typer.Option(help="Folder for the rows, the Selection and the report.")] = None,
    per: Annotated[str | None, typer.Option(help="Apply the budget inside each group of this column.")] = None,
    text: Annotated[
        str | None, typer.Option(help="Column of what is said, for words per second; 'text' if not given.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the order inside a subgroup.")] = 0,
    key: Annotated[str | None, typer.Option(help="Column of unique ids.")] = None,
    label: LABEL = None,
    by: Annotated[
        list[str] | None, typer.Option(help="Further column to count taken and total rows by (repeatable).")
    ] = None,
    config: CONFIG = None,
    split: SPLIT = None,
    revision: REVISION = None,
    audio: AUDIO = None,
    max_seconds: LONGEST = 600.0,
    num_threads: THREADS = None,
    overwrite: OVERWRITE = False,
    as_json: AS_JSON = False,
    quiet: QUIET = False,
) -> None:
    """Take the rows of a pool that belong to the subgroups where a model is worst, and say which subgroup asked for what."""
    from hf_select import prune as road
    from hf_select.export import check_output
    from hf_select.sources import open_dataset
    from hf_select.subgroups.table import Subgroups

    if out is not None:
        check_output(out, overwrite=overwrite)
    table = Subgroups.load(subgroups / "subgroups.json" if subgroups.is_dir() else subgroups)
    chosen = table.worst(redundancy=redundancy, max_q=max_q, min_speakers=min_speakers)[:worst]
    arguments: dict[str, Any] = {"subgroups": chosen, "fill": fill, "per": per, "seed": seed, "key": key}
    job = road.Pruning(
        "subgroups",
        budget,
        {name: value for name, value in arguments.items() if value is not None},
        label=label,
        by=tuple(by or ()),
        max_seconds=max_seconds,
        num_threads=num_threads,
        text=text,
    )
    progress(not quiet)
    source = open_dataset(dataset, config=config, split=split, revision=revision, audio=audio)
    taken = road.prune(source, job)
    if out is not None:
        road.write(taken, source, job, out, overwrite=overwrite)
    asked = taken.selection.facts["subgroups"]
    if as_json:
        show({**taken.summary, "subgroups": asked, "out": str(out) if out else None}, as_json)
        return
    lines = [f"  {entry['taken']:,} of {entry['rows']:,} rows: {entry['subgroup']}" for entry in asked]
    show("\n".join([road.describe(taken, out), "Rows taken, of those there are, by subgroup:", *lines]), as_json)
