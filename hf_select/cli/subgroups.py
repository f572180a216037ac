"""`hf-select subgroups`: say where a model fails, in words."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from hf_select.cli.options import AS_JSON, AUDIO, CONFIG, DATASET, OVERWRITE, QUIET, REVISION, SPLIT, THREADS
from hf_select.cli.printing import progress, show
from hf_select.errors import ArgumentError

__all__ = ["subgroups"]

MOST_COLUMNS = 20  # that are taken unasked


def subgroups(
    dataset: DATASET,
    outcome: Annotated[
        str,
        typer.Option(
            help="Column of 0/1 or numbers (correct, wer); with --predicted and --label: accuracy, "
            "false_positive_rate, false_negative_rate or macro_f1."
        ),
    ],
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="Column to describe rows by (repeatable), of the dataset or measured from its sound (snr_db, f0_median_hz, "
            "words_per_second, ...: see hs.SpeechMetadata); all of the dataset's that can be used, if none is given."
        ),
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="Column of what is said, for words per second; 'text' if not given.")
    ] = None,
    speaker: Annotated[
        str | None, typer.Option(help="Column of speakers: q and intervals are then those of a sample of speakers.")
    ] = None,
    min_support: Annotated[
        str, typer.Option(help="Rows that a subgroup needs: a share with a point (0.03), or a whole number.")
    ] = "0.03",
    bins: Annotated[int, typer.Option(min=2, help="Bins of equal size that columns of numbers are cut into.")] = 3,
    direction: Annotated[
        str | None,
        typer.Option(help="The bad side: 'lower' or 'higher'; lower for 0/1, higher for numbers, if not given."),
    ] = None,
    redundancy: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Leave out a subgroup that has a condition which changes its divergence by no more than this; "
            "a twentieth of the largest divergence, if not given. 0 shows all but exact duplicates.",
        ),
    ] = None,
    worst: Annotated[int, typer.Option(min=1, help="Subgroups to print, the worst first.")] = 10,
    max_q: Annotated[
        float | None, typer.Option(min=0, max=1, help="Print only subgroups with a q of at most this, such as 0.05.")
    ] = None,
    min_speakers: Annotated[
        int | None, typer.Option(min=1, help="Print only subgroups of at least so many speakers.")
    ] = None,
    predicted: Annotated[str | None, typer.Option(help="Column of predicted classes.")] = None,
    label: Annotated[str | None, typer.Option(help="Column of true classes.")] = None,
    positive: Annotated[str | None, typer.Option(help="The class of a positive or negative rate.")] = None,
    max_length: Annotated[int | None, typer.Option(min=1, help="Conditions of a subgroup, at most.")] = None,
    keep_constant: Annotated[
        bool, typer.Option("--keep-constant", help="Keep columns that are the same in all rows.")
    ] = False,
    scores: Annotated[
        list[Path] | None, typer.Option(help="Folder that `hf-select score` wrote, with the outcome (repeatable).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for all subgroups (.csv, .json), the worst (.csv) and the picture.")
    ] = None,
    config: CONFIG = None,
    split: SPLIT = None,
    revision: REVISION = None,
    audio: AUDIO = None,
    num_threads: THREADS = None,
    overwrite: OVERWRITE = False,
    as_json: AS_JSON = False,
    quiet: QUIET = False,
) -> None:
    """Find the subgroups of rows on which a model is worst ("gender = female and age > 60"), from its predictions."""
    from hf_select import find_subgroups, with_columns
    from hf_select.cli.subgroups_by import columns_to_use
    from hf_select.cli.subgroups_out import MARK, choose, describe, record, write
    from hf_select.export import check_output
    from hf_select.metadata import missing_metadata
    from hf_select.scoring import load_scores
    from hf_select.sources import open_dataset

    if out is not None:
        check_output(out, overwrite=overwrite, mark=MARK)  # now, not after the work
    progress(not quiet)
    support = _support(min_support)
    source = open_dataset(dataset, config=config, split=split, revision=revision, audio=audio)
    ds = source.ds
    for folder in scores or ():
        ds = load_scores(ds, folder, audio=source.audio)
    roles = {"outcome": outcome, "predicted": predicted, "label": label, "speaker": speaker}
    notes = list(source.notes)
    if not by:
        by, said = columns_to_use(source.ds, roles, keep_constant=keep_constant)
        notes += said
        if len(by) > MOST_COLUMNS and max_length is None:
            raise ArgumentError(
                f"{len(by)} columns can describe rows, which make too many combinations: name some with --by, or limit "
                f"the conditions of a subgroup, such as --max-length 3. {' '.join(said)}"
            )
    if (metadata := missing_metadata(source, by, text=text)) is not None:
        ds = with_columns(ds, metadata, overwrite=True, num_threads=num_threads)
    arguments: dict[str, Any] = {**roles, "positive": positive, "min_support": support, "bins": bins}
    arguments |= {"direction": direction, "max_length": max_length, "keep_constant": keep_constant}
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", UserWarning)
        groups = find_subgroups(ds, by, **arguments)
    found = choose(
        groups,
        worst,
        redundancy=redundancy,
        max_q=max_q,
        min_speakers=min_speakers,
        notes=notes,
        warnings=[str(warning.message) for warning in heard],
    )
    if out is not None:
        write(found, out, overwrite=overwrite)
    show({**record(found), "out": str(out) if out else None} if as_json else describe(found, out), as_json)


def _support(text: str) -> float | int:
    """Read a share or a number of rows."""
    try:
        return int(text) if text.isdecimal() and int(text) else float(text)
    except ValueError:
        raise ArgumentError(
            f"--min-support is a share of the rows such as 0.03, or a whole number of rows; got {text!r}."
        ) from None
