"""`hf-select check`: say what to know about a dataset before selecting."""

from __future__ import annotations

from typing import Annotated

import typer

from hf_select.cli.options import AS_JSON, AUDIO, CONFIG, DATASET, LABEL, LONGEST, QUIET, REVISION, SPLIT, THREADS
from hf_select.cli.printing import progress, say, show

__all__ = ["check"]


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

    progress(not quiet)
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
        say(f"note: {note}")
    show(report.to_dict() if as_json else str(report), as_json)
