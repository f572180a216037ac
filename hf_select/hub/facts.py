"""The facts of one published config, gathered from the thin columns of its source: plain values, no audio is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hf_select.errors import ColumnError
from hf_select.hub.front import CardInfo, dataset_info, inherited_terms
from hf_select.hub.losses import count_values, excluded_reasons, speaker_counts, uneven_sentences
from hf_select.hub.told import citation, in_words, names_of, rebuild
from hf_select.readers import read_seconds
from hf_select.report.markdown import without_paths
from hf_select.rows import audio_column, require_columns, require_dataset
from hf_select.selection import Selection
from hf_select.storage import selection_table

if TYPE_CHECKING:
    from datasets import Features

__all__ = ["ConfigFacts", "config_facts"]

_SPEAKERS = ("speaker", "speaker_id", "client_id", "spk", "spk_id")
_TEXTS = ("text", "sentence", "transcript", "transcription", "raw_text", "normalized_text")
_CAUSES = {  # what a method does to a subset, beyond what its parameters say
    (
        "select_kmeans",
        "simple",
    ): "Rows near the centre of their cluster were dropped: what is typical is rarer here, and what is "
    "unusual (noise, wrong labels, rare voices) is more frequent than in the source.",
    (
        "select_kmeans",
        "hard",
    ): "Rows far from the centre of their cluster were dropped: what is unusual (rare voices, accents, noise) "
    "is rarer here than in the source, and results on this subset may look better than on all of it.",
    (
        "meltrim",
        None,
    ): "Of rows near the middle of dense clusters of sound those were kept that a model, the judge, can learn most from, and of each "
    "the part with its largest gradient: this is no sample of the source, most of each clip is not there, and it reflects that model.",
    (
        "select_meltrim",
        None,
    ): "Rows near the middle of dense clusters of sound were kept, and rows that lie alone were dropped: what is unusual is "
    "rarer here than in the source.",
    (
        "select_by_score",
        None,
    ): "Rows were kept for the value of one column, so this is no sample of the source: averages over it, and "
    "over whatever goes with that column, do not carry over.",
    (
        "select_subgroups",
        None,
    ): "Rows were kept because a model failed on subgroups they belong to: this is no sample of the source, "
    "and it reflects that model.",
    (
        "select_weak_clusters",
        None,
    ): "Rows were kept because a model failed on sound that is like theirs: this is no sample of the source, "
    "and it reflects that model.",
    (
        "AcquisitionCallback",
        None,
    ): "Rows were acquired round by round where a model in training failed: beside those of the start this is no "
    "sample of the source, and it reflects that model.",
}
_NOT_ASKED_FOR = ("in no subgroup", "in no weak cluster", "not acquired")  # reasons that say nothing against a row


@dataclass(frozen=True)
class ConfigFacts:
    """What a card says of one config, in plain JSON values; `hf_select.hub.card.card_of` writes it down.

    Attributes:
        config_name, split: as `load_dataset` takes them. rows: rows are published; else the index alone.
        kept, total: {"rows", "hours"}; hours is None where durations are not known.
        tables: see `count_values`, the labels first. speakers: see `speaker_counts`. excluded: [reason, rows].
        method: name, words, params, budget, seed, subgroups. source: name, repo_id, config, split, revision.
        made: names and versions of the packages. code: lines of Python that rebuild it. citation: BibTeX.
        limits: sentences. left_out: columns of the source that are not published.
        pictures: [file, what it shows], below `<config>/figures/`.
        front: keys of the front matter. info: its `dataset_info`.
        text: Markdown of the publisher's own, which stands first.
    """

    config_name: str
    split: str
    rows: bool
    kept: dict[str, Any]
    total: dict[str, Any]
    tables: list[dict[str, Any]]
    speakers: dict[str, Any] | None
    excluded: list[list[Any]]
    method: dict[str, Any]
    source: dict[str, Any]
    made: dict[str, str]
    code: list[str]
    citation: str
    limits: list[str]
    left_out: list[str]
    pictures: list[list[str]]
    front: CardInfo
    info: CardInfo
    text: str = ""


def config_facts(
    ds: Any,
    selection: Selection,
    *,
    config_name: str,
    rows: bool = True,
    features: Features | None = None,
    mask: NDArray[np.bool_] | None = None,
    by: Sequence[str] = (),
    label: str | None = None,
    speaker: str | None = None,
    duration: str = "duration",
    licence: str | None = None,
    source: Mapping[str, Any] | None = None,
    source_card: Mapping[str, Any] | None = None,
    pictures: Sequence[Sequence[str]] = (),
    num_bytes: int = 0,
    download_size: int = 0,
    text: str = "",
) -> ConfigFacts:
    """Gather what a card says of a config.

    Reads:
        `label`, `by`, `speaker`, `duration` and measured columns such as snr_db: one value per row; never audio.

    Args:
        ds: the dataset that was selected from, in any order of rows.
        selection: what was kept of it.
        config_name: name of the config, which is the folder of its files too.
        rows: rows are published; False: the index alone.
        features: features of the published rows; None: those of `ds`. An index has its own.
        mask: which rows of `ds` are kept, if that is known already.
        by: columns to count kept and total rows by, besides the label. A column of speakers is summed up instead.
        label: the column of classes; None: "label", or the first ClassLabel.
        speaker: the column of speakers; None: "speaker", "speaker_id", "client_id" or "spk", if there is one.
        duration: the column of seconds; without it, hours are left out.
        licence: of the source, as the Hub writes it.
        source: where `ds` comes from: repo_id, config, split, revision; None: what the Selection records.
        source_card: front matter of the source: languages, name of the licence, gate.
        pictures: (file, what it shows) below `<config_name>/figures/`.
        num_bytes, download_size: of the rows in memory, and of the files.
        text: Markdown of the publisher's own.

    Raises:
        ColumnError: no such column. SelectionError: another dataset.
    """
    require_dataset(ds, "config_facts")
    label = label or _label(ds)
    speaker = speaker or next((name for name in _SPEAKERS if name in ds.column_names), None)
    counted = [name for name in dict.fromkeys([label, *by]) if name is not None and name != speaker]
    require_columns(ds, [*counted, *([speaker] if speaker else [])], "The card")
    kept = selection.mask(ds) if mask is None else mask
    seconds, hours_note = _seconds(ds, duration)
    timed = None if seconds is None else duration
    tables = [count_values(ds, kept, name, timed) for name in counted]
    speakers = speaker_counts(ds, kept, speaker) if speaker else None
    where = {name: (source or selection.source).get(name) for name in ("repo_id", "config", "split", "revision")}
    published = features if features is not None else ds.features
    split = "train" if rows else "index"
    if not rows:
        published, size = _index_features(selection), selection.num_rows
    else:
        size = len(selection)
    return ConfigFacts(
        config_name=config_name,
        split=split,
        rows=rows,
        kept=_amount(kept, seconds),
        total=_amount(np.ones(len(ds), dtype=bool), seconds),
        tables=tables,
        speakers=speakers,
        excluded=excluded_reasons(selection),
        method=_method(selection),
        source={"name": without_paths(selection.source.get("name") or ""), **where},
        made={str(name): str(value) for name, value in selection.versions.items()},
        code=rebuild(selection, where),
        citation=citation(selection.method),
        limits=[
            *_about_source(selection, where, licence, rows=rows),
            *_causes(selection),
            *([hours_note] if hours_note else []),
            *uneven_sentences(ds, kept, tables, speakers),
            *(without_paths(warning) for warning in selection.warnings),
        ],
        left_out=[name for name in ds.column_names if name not in published] if rows else [],
        pictures=[[str(file), str(what)] for file, what in pictures],
        front={
            **inherited_terms(source_card or {}, licence, gate=rows),
            **_hub_keys(ds, selection, label, where["repo_id"]),
        },
        info=dataset_info(published, config_name, split, size, num_bytes, download_size),
        text=text,
    )


def _label(ds: Any) -> str | None:
    if "label" in ds.column_names:
        return "label"
    return next((str(name) for name, feature in ds.features.items() if hasattr(feature, "int2str")), None)


def _seconds(ds: Any, duration: str) -> tuple[NDArray[np.float64] | None, str]:
    if duration not in ds.column_names:
        return None, ""
    try:
        seconds = read_seconds(ds, duration)
    except ColumnError as error:
        return None, f"Hours are left out. {without_paths(error)}"
    unknown = int(np.isnan(seconds).sum())
    note = f"{unknown:,} of {len(ds):,} rows have no duration and count as 0 hours." if unknown else ""
    return np.nan_to_num(seconds), note


def _amount(mask: NDArray[np.bool_], seconds: NDArray[np.float64] | None) -> dict[str, Any]:
    return {"rows": int(mask.sum()), "hours": None if seconds is None else float(seconds[mask].sum()) / 3600}


def _method(selection: Selection) -> dict[str, Any]:
    params = {name: value for name, value in selection.params.items() if value is not None and name != "subgroups"}
    return {
        "name": selection.method,
        "words": [*in_words(selection.method), *_choices(selection)],
        "params": [[str(name), without_paths(_plain(value))] for name, value in _flat(params)],
        "budget": str(selection.budget),
        "seed": selection.seed,
        "subgroups": [
            [entry["subgroup"], entry["rows"], entry["taken"]] for entry in selection.facts.get("subgroups", [])
        ],
    }


def _choices(selection: Selection) -> list[str]:
    """Say what was chosen where the method leaves a choice, such as which end of a cluster is dropped."""
    named = ("column", "n_clusters", "drop", "metric", "keep", "fill", "per")
    given = [(name, selection.params.get(name)) for name in named if selection.params.get(name) is not None]
    text = ", ".join(f"{name} = {without_paths(_plain(value))}" for name, value in given)
    return [f"Here: {text}."] if text and in_words(selection.method) else []


def _flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        found += _flat(value, f"{before}{name} ") if isinstance(value, Mapping) else [(f"{before}{name}", value)]
    return found


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.10g}"
    return ", ".join(map(_plain, value)) if isinstance(value, (list, tuple)) else str(value)


def _causes(selection: Selection) -> list[str]:
    found = []
    for name in names_of(selection.method):
        drop = selection.params.get("drop") if name == "select_kmeans" else None
        found.append(_CAUSES.get((name, drop), ""))
    if selection.segment_start is not None and selection.segment_end is not None:
        seconds = float((selection.segment_end - selection.segment_start).sum())
        found.append(
            f"Of each kept row one segment was chosen, {seconds / 3600:,.2f} h in all: see segment_start and segment_end."
        )
    return [sentence for sentence in dict.fromkeys(found) if sentence]


def _about_source(selection: Selection, source: Mapping[str, Any], licence: str | None, *, rows: bool) -> list[str]:
    found = []
    if not source["repo_id"]:
        found.append("The source is not on the Hub as far as is known here: only who has it can rebuild the subset.")
    elif not source["revision"]:
        found.append("The revision of the source was not recorded: its rows may have changed since.")
    if not licence:
        found.append("The licence of the source is not known: ask its authors before you use it.")
    if not rows:
        found.append("This config holds no audio: it is of use only as long as the source can be loaded.")
    bad = [(why, rows) for why, rows in excluded_reasons(selection) if why not in _NOT_ASKED_FOR]
    if bad:
        reasons = ", ".join(f"{why} {rows:,}" for why, rows in bad[:4]) + (" and others" if len(bad) > 4 else "")
        found.append(
            f"{sum(rows for _, rows in bad):,} of {selection.num_rows:,} rows could not be chosen at all ({reasons}): what they "
            "have in common, such as a device or a speaker, is rarer here."
        )
    return found


def _hub_keys(ds: Any, selection: Selection, label: str | None, repo_id: str | None) -> CardInfo:
    """Return tasks, sources and tags; a method of a stranger is a tag only if its name is a plain word."""
    audio = audio_column(ds) is not None
    said = any(name in ds.column_names and getattr(ds.features[name], "dtype", "") == "string" for name in _TEXTS)
    tasks = (["audio-classification"] if label else []) + (["automatic-speech-recognition"] if said else [])
    names = [name for name in names_of(selection.method) if name.isidentifier() and name.isascii()]
    keys: CardInfo = {"source_datasets": [repo_id or "original"]}
    if audio and tasks:
        keys["task_categories"] = tasks
    return {**keys, "tags": ["hf_select", *(["audio"] if audio else []), *dict.fromkeys(names)]}


def _index_features(selection: Selection) -> Features:
    from datasets import Features

    return Features.from_arrow_schema(selection_table(selection).schema)
