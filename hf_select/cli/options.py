"""Options that several commands share: one name, one help text, one meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "AS_JSON",
    "AUDIO",
    "CONFIG",
    "CONFIG_NAME",
    "DATASET",
    "DEFAULT",
    "LABEL",
    "LICENCE",
    "LONGEST",
    "OVERWRITE",
    "PRIVATE",
    "QUIET",
    "REPO",
    "REVISION",
    "ROWS",
    "SCORES",
    "SPLIT",
    "THREADS",
]

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
REPO = Annotated[str, typer.Argument(help="Repository of subsets on the Hub: name/repository.")]
CONFIG_NAME = Annotated[
    str | None,
    typer.Option(
        help="Name of the subset in its repository. If not given: method and budget; to read, the default one."
    ),
]
ROWS = Annotated[
    bool | None,
    typer.Option(
        "--rows/--index", help="Publish rows, or keys, ranks and scores alone; as the source allows, if not given."
    ),
]
LICENCE = Annotated[
    str | None, typer.Option(help="Licence of the source as the Hub writes it, where the source does not state it.")
]
PRIVATE = Annotated[
    bool | None, typer.Option("--private/--public", help="Of a new repository; as the source is, if not given.")
]
DEFAULT = Annotated[
    bool,
    typer.Option("--default", help="Make it the subset that load_dataset takes without a name; else the first is."),
]
SCORES = Annotated[
    list[Path] | None, typer.Option(help="Folder of hf-select score (repeatable): its columns can be selected by.")
]
AS_JSON = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
QUIET = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
OVERWRITE = Annotated[bool, typer.Option("--overwrite", help="Replace the folder, once the new one is whole.")]
