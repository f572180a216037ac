"""`hf-select publish`: put a subset on the Hub."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hf_select.cli.options import (
    AS_JSON,
    AUDIO,
    CONFIG,
    CONFIG_NAME,
    DEFAULT,
    LABEL,
    LICENCE,
    PRIVATE,
    QUIET,
    REPO,
    REVISION,
    ROWS,
    SPLIT,
)
from hf_select.cli.printing import progress, say, show
from hf_select.errors import ArgumentError

if TYPE_CHECKING:
    from hf_select.hub.publish import Published

__all__ = ["in_words", "publish"]


def publish(
    dataset: Annotated[
        str,
        typer.Argument(
            help="Folder that prune or acquire --out wrote; or, with --selection, the dataset that was selected from."
        ),
    ],
    repo: REPO,
    selection: Annotated[
        Path | None, typer.Option(help="Folder of the Selection: the card then counts what was dropped too.")
    ] = None,
    config_name: CONFIG_NAME = None,
    rows: ROWS = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            help="Columns to publish (repeatable, or with commas); all but vectors and speakers, if not given."
        ),
    ] = None,
    source: Annotated[str | None, typer.Option(help="Repository on the Hub that the rows come from.")] = None,
    source_revision: Annotated[str | None, typer.Option(help="Its commit.")] = None,
    licence: LICENCE = None,
    private: PRIVATE = None,
    label: LABEL = None,
    by: Annotated[
        list[str] | None, typer.Option(help="Further column to count kept and total rows by (repeatable).")
    ] = None,
    config: CONFIG = None,
    split: SPLIT = None,
    revision: REVISION = None,
    audio: AUDIO = None,
    default: DEFAULT = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another subset of this name.")] = False,
    as_json: AS_JSON = False,
    quiet: QUIET = False,
) -> None:
    """Put a subset on the Hub in one commit: its rows or their index, the record of how it was chosen, and a card.

    Log in by `hf auth login`, or set HF_TOKEN: no option takes a token, since commands are kept in a history.
    """
    from hf_select.hub.publish import publish as run
    from hf_select.prune import find_label
    from hf_select.selection import Selection
    from hf_select.sources import open_dataset

    progress(not quiet)
    if selection is None and not (Path(dataset) / "selection.json").exists():
        raise ArgumentError(
            f"There is no Selection in {dataset}: name a folder that prune or acquire --out wrote, or the Selection with --selection."
        )
    chosen = Selection.load(dataset if selection is None else selection)
    opened = open_dataset(dataset, config=config, split=split, revision=revision, audio=audio)
    for note in opened.notes:
        say(f"note: {note}")
    done = run(
        opened.ds,
        chosen,
        repo,
        config_name=config_name,
        rows=rows,
        columns=[name.strip() for entry in columns for name in entry.split(",")] if columns else None,
        source=source,
        source_revision=source_revision,
        licence=licence,
        private=private,
        label=label or find_label(opened.ds),
        by=tuple(by or ()),
        default=default,
        overwrite=overwrite,
        audio_root=opened.audio_root,
    )
    if done is not None:  # else this is one of several processes, and the first of them publishes
        show(asdict(done) if as_json else in_words(done), as_json)


def in_words(done: Published) -> str:
    """Return what was published, and how it is loaded."""
    verb = 'load_dataset("{}", "{}", split="train")' if done.rows else 'hf_select.load_subset("{}", "{}")'
    return f"Published {done}\nLoad it: {verb.format(done.repo_id, done.config_name)}"
