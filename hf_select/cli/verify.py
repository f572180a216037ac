"""`hf-select verify`: is a published subset what it says it is?"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hf_select.cli.options import (
    AS_JSON,
    AUDIO,
    CONFIG,
    CONFIG_NAME,
    QUIET,
    REPO,
    SCORES,
    SPLIT,
    THREADS,
)
from hf_select.cli.printing import progress, show
from hf_select.errors import ArgumentError

if TYPE_CHECKING:
    from hf_select.selection import Selection
    from hf_select.sources import Source

__all__ = ["verify"]


def verify(
    repo: REPO,
    config_name: CONFIG_NAME = None,
    level: Annotated[
        Literal["keys", "scores", "full"],
        typer.Option(
            help="keys: files, rows and source; scores: also the cut from the published scores; full: also the method."
        ),
    ] = "keys",
    dataset: Annotated[
        str | None, typer.Option(help="The source, where it is not on the Hub, or with columns that the method read.")
    ] = None,
    config: CONFIG = None,
    split: SPLIT = None,
    revision: Annotated[
        str | None, typer.Option(help="Commit, tag or branch of the repository; the newest, if not given.")
    ] = None,
    audio: AUDIO = None,
    scores: SCORES = None,
    num_threads: THREADS = None,
    as_json: AS_JSON = False,
    quiet: QUIET = False,
) -> None:
    """Check a published subset against its source; the exit code is 1 where they differ.

    For what is not public log in by `hf auth login`, or set HF_TOKEN.
    """
    from hf_select.hub.subset import load_selection
    from hf_select.hub.verify import verify as run
    from hf_select.prune import thin_columns
    from hf_select.sources import open_dataset

    progress(not quiet)
    name, selection, _, commit = load_selection(repo, config_name, revision=revision, token=None)
    given = None if dataset is None else open_dataset(dataset, config=config, split=split, audio=audio)
    source = given or _pinned_source(repo, selection)
    ds: Any = source.ds
    if level != "keys":
        ds = thin_columns(source, selection, scores=scores or (), num_threads=num_threads)
    found = run(repo, name, level=level, ds=ds, revision=commit)
    show(asdict(found) if as_json else str(found), as_json)
    if not found:
        raise typer.Exit(1)


def _pinned_source(repo: str, selection: Selection) -> Source:
    from hf_select.hub.subset import load_source
    from hf_select.rows import audio_column
    from hf_select.sources import Source

    if not selection.source.get("repo_id") or not selection.source.get("revision"):
        raise ArgumentError(f"{repo} does not say where its source lies on the Hub: name the source with --dataset.")
    ds = load_source(selection)
    return Source(ds, selection.source["repo_id"], audio=audio_column(ds))
