"""Say what to know about speech data before anything is selected from it: `check(ds)` decodes every clip once and sums up."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hf_select.check_report import CheckReport, SameSound, Share
from hf_select.columns import with_columns
from hf_select.counts import balance
from hf_select.errors import ArgumentError, ColumnError
from hf_select.readers import read_groups, read_values
from hf_select.rows import audio_column, base_column, column_names, raw_column, require_columns, require_dataset
from hf_select.transforms.quality import AudioQuality

__all__ = ["check"]

SPEAKERS = ("speaker", "speaker_id")
TOLERANCE = 0.01  # of the decoded length; and in seconds, so that durations rounded to hundredths don't count as wrong


def check(
    ds: Any,
    *,
    column: str | None = None,
    label: str | None = None,
    speaker: str | None = None,
    duration: str | None = "duration",
    audio_root: str | Path | None = None,
    max_seconds: float = 600.0,
    max_clipped: float = 0.001,
    min_dbfs: float | None = -60.0,
    min_rows: int = 10,
    num_threads: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> CheckReport:
    """Decode every clip once, and report what is wrong with the dataset and what it consists of.

    Reads:
        `column` (audio, as it is stored), `label` and `speaker` (one value per row), `duration` (seconds), where they are there. Row
        numbers in the report are those of `ds`, the first row being 0.

    Args:
        ds: a map-style dataset.
        column: the Audio column; None takes the first.
        label: the column of labels; None takes "label", else the first ClassLabel, else none. Null, blank and NaN are no labels.
        speaker: the column of speakers; None takes "speaker" or "speaker_id", else none.
        duration: a column of seconds to hold against the decoded length, if it is there; None compares nothing. A row counts as
            wrong from a difference of 1 % and 10 ms on (limits that we chose).
        audio_root: folder that relative paths start from and that paths may not leave.
        max_seconds: clips longer than this (in seconds, more than 0) are not read: status `too_long`.
        max_clipped: share of samples, 0 to 1, that may stand at full scale before a clip counts as clipped; 1 lets all pass.
            What counts as standing there, and as identical sound, is told at `hf_select.transforms.AudioQuality`.
        min_dbfs: clips below this level (root mean square in dB of full scale) are reported as almost silent; None reports none.
        min_rows: labels with fewer rows than this are reported, 0 or more; 0 reports none.
        num_threads: threads that decode; None means one.
        cache_dir: where finished rows are kept, so that an interrupted check goes on where it stopped.

    Returns:
        A CheckReport: print it, or take `problems`, `ok`, `to_dict()`.

    Raises:
        ColumnError: no Audio column, or a column that was named is missing; the message names those there are.
        AudioError: every row was refused, because its path lies outside the dataset's own files: pass `audio_root`.

    Relations:
        `with_columns(ds, AudioQuality())` gives the same measurements clip by clip, to filter by.

    >>> import pyarrow as pa
    >>> from datasets import Audio, Dataset
    >>> from hf_select.audio import wave_bytes
    >>> clips = [{"bytes": wave_bytes(np.sin(np.arange(8000) * f), 16000), "path": None} for f in (0.1, 0.2, 0.1)]
    >>> ds = Dataset(pa.table({"audio": clips, "label": ["yes", "no", "no"]})).cast_column("audio", Audio())
    >>> check(ds, min_rows=0, max_clipped=1).problems
    ['1 sound stands under different labels: rows 0 and 2 (yes | no).']
    """
    require_dataset(ds, "check")
    if not (0 <= max_clipped <= 1 and min_rows >= 0):
        raise ArgumentError(
            f"max_clipped={max_clipped!r}, min_rows={min_rows!r}: a share from 0 to 1, and 0 or more rows."
        )
    column = _audio(ds, column)
    label, speaker = _pick_label(ds, label), _pick_speaker(ds, speaker)
    require_columns(ds, [name for name in (label, speaker) if name], "check")
    if duration not in (None, "duration"):
        require_columns(ds, [str(duration)], "check")
    found = _measured(
        ds, AudioQuality(column, f"{column}_", audio_root, max_seconds, f"{column}_status"), num_threads, cache_dir
    )
    seconds = found["seconds"].to_numpy().astype(np.float64)  # NaN where the clip can't be used
    usable = np.sort(seconds[np.isfinite(seconds)])
    status, details = _statuses(found["status"].to_pylist())
    labels = np.full(len(ds), None, dtype=object) if label is None else _values(ds, label)
    speakers = None if speaker in (None, label) else _values(ds, str(speaker))
    same = _same_sounds(found["digest"].to_pylist(), labels, speakers)
    by_label = _shares(labels, seconds, speakers, _classes(ds, label))
    clipped, level = (found[name].to_numpy().astype(np.float64) for name in ("clipped_share", "rms_dbfs"))
    wrong, claimed, notes = _durations(ds, duration, seconds)
    return CheckReport(
        rows=len(ds),
        usable=len(usable),
        hours=float(usable.sum()) / 3600,
        lengths=(float(usable[0]), float(np.median(usable)), float(usable[-1])) if len(usable) else None,
        columns={"audio": column, "label": label, "speaker": speaker, "duration": duration if claimed else None},
        status=status,
        details=details,
        labels=by_label,
        speakers={} if speakers is None else _shares(speakers, seconds),
        balance=None if label is None else balance([name for name in labels if name is not None], by_label),
        unlabelled=() if label is None else _rows(labels == None),  # noqa: E711
        clipped=_rows(clipped > max_clipped, clipped),
        quiet=() if min_dbfs is None else _rows(level < min_dbfs, -level),
        rates=_tally(found["rate_hz"].to_pylist()),
        channels=_tally(found["channels"].to_pylist()),
        label_faults=tuple(group for group in same if len(group.labels) > 1),
        redundant=tuple(group for group in same if len(group.labels) < 2),
        across_speakers=tuple(group for group in same if len(group.speakers) > 1),
        wrong_duration=wrong,
        claimed_hours=claimed,
        small={name: share.rows for name, share in by_label.items() if share.rows < min_rows},
        limits={"max_clipped": max_clipped, "min_dbfs": min_dbfs, "min_rows": min_rows, "max_seconds": max_seconds},
        notes=(*([] if label else ["no column of labels was found or named"]), *notes),
    )


def _audio(ds: Any, column: str | None) -> str:
    if column is not None:
        require_columns(ds, [column], "check")
        return column
    found = audio_column(ds)
    if found is None:
        raise ColumnError(
            "check needs a column of sound, and none of the columns is Audio. If one holds audio, name it with column=, or cast it: "
            f"ds.cast_column(name, Audio(decode=False)). Columns there are: {', '.join(column_names(ds)) or 'none'}."
        )
    return found


def _pick_label(ds: Any, label: str | None) -> str | None:
    if label is not None:
        return label
    classes = (str(name) for name, feature in ds.features.items() if hasattr(feature, "int2str"))
    return "label" if _is_thin(ds, "label") else next(classes, None)


def _pick_speaker(ds: Any, speaker: str | None) -> str | None:
    return speaker if speaker is not None else next((name for name in SPEAKERS if _is_thin(ds, name)), None)


def _is_thin(ds: Any, name: str) -> bool:
    return name in column_names(ds) and not pa.types.is_nested(base_column(ds, name).type)


def _measured(
    ds: Any, quality: AudioQuality, num_threads: int | None, cache_dir: str | os.PathLike[str] | None
) -> dict[str, pa.ChunkedArray]:
    """Return the columns of AudioQuality without their prefix; beside the sound alone they can't clash with other columns."""
    sound = ds.select_columns([quality.column])
    sound = with_columns(sound, quality, num_threads=num_threads, cache_dir=cache_dir)
    return {name.removeprefix(quality.prefix): raw_column(sound, name) for name in quality.features}


def _values(ds: Any, name: str) -> NDArray[np.object_]:
    """Return the values of a column as text; None where there is none: null, NaN, blank, or no class of a ClassLabel."""
    values = read_groups(ds, name, "check")
    none = pc.is_null(raw_column(ds, name), nan_is_null=True).to_numpy()
    if hasattr(ds.features[name], "int2str"):
        none = none | (values == "(none)")
    values[none | np.array([not value.strip() for value in values], dtype=bool)] = None
    return values


def _classes(ds: Any, label: str | None) -> list[str]:
    return list(getattr(ds.features[label], "names", None) or []) if label is not None else []


def _statuses(status: list[str]) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    rows: dict[str, list[int]] = defaultdict(list)
    details: dict[str, str] = {}
    for row, text in enumerate(status):
        if text != "ok":
            code, _, detail = text.partition(": ")
            rows[code].append(row)
            details.setdefault(code, detail)
    return {code: tuple(found) for code, found in sorted(rows.items(), key=lambda item: -len(item[1]))}, details


def _shares(
    values: NDArray[np.object_],
    seconds: NDArray[np.float64],
    speakers: NDArray[np.object_] | None = None,
    classes: list[str] | None = None,
) -> dict[str, Share]:
    """Count rows, hours and speakers per value, the largest first."""
    rows = Counter(dict.fromkeys(classes or [], 0))
    total: dict[str, float] = defaultdict(float)
    voices: dict[str, set[str]] = defaultdict(set)
    for row, (value, length) in enumerate(zip(values, np.nan_to_num(seconds).tolist(), strict=True)):
        if value is not None:
            rows[value] += 1
            total[value] += length
            if speakers is not None and speakers[row] is not None:
                voices[value].add(speakers[row])
    return {
        name: Share(count, total[name] / 3600, None if speakers is None else len(voices[name]))
        for name, count in sorted(rows.items(), key=lambda item: (-item[1], item[0]))
    }


def _same_sounds(
    digests: list[str | None], labels: NDArray[np.object_], speakers: NDArray[np.object_] | None
) -> list[SameSound]:
    groups: dict[str, list[int]] = defaultdict(list)
    for row, digest in enumerate(digests):
        if digest is not None:
            groups[digest].append(row)

    def different(values: NDArray[np.object_] | None, rows: list[int]) -> tuple[str, ...]:
        return () if values is None else tuple(dict.fromkeys(v for v in values[rows] if v is not None))

    return [
        SameSound(tuple(rows), different(labels, rows), different(speakers, rows))
        for rows in groups.values()
        if len(rows) > 1
    ]


def _durations(
    ds: Any, column: str | None, seconds: NDArray[np.float64]
) -> tuple[tuple[int, ...], tuple[float, float] | None, list[str]]:
    """Return (rows whose duration is wrong, (hours claimed, hours decoded), notes)."""
    if column is None or column not in column_names(ds):
        return (), None, []
    try:
        claimed = read_values(ds, column, "check")
    except ColumnError as error:
        return (), None, [f"durations were not compared: {error}"]
    both = np.isfinite(seconds) & ~np.isnan(claimed)
    apart = np.where(both, np.abs(claimed - seconds), 0.0)
    limit = np.maximum(TOLERANCE * np.nan_to_num(seconds), TOLERANCE) + 1e-9  # 0.26 - 0.25 > 0.01
    sums = both & np.isfinite(claimed)
    hours = float(claimed[sums].sum()) / 3600, float(seconds[sums].sum()) / 3600
    missing = int(np.isnan(claimed).sum())
    notes = [f"{missing:,} of {len(ds):,} rows have no duration to compare"] if missing else []
    return _rows(apart > limit, apart / np.maximum(np.nan_to_num(seconds), 1e-9)), hours if both.any() else None, notes


def _rows(where: NDArray[np.bool_], badness: NDArray[np.float64] | None = None) -> tuple[int, ...]:
    """Return the rows where something is so, the worst first, if it is told how bad each is."""
    rows = np.flatnonzero(where)
    return tuple((rows if badness is None else rows[np.argsort(-badness[rows], kind="stable")]).tolist())


def _tally(values: list[int | None]) -> dict[int, int]:
    return dict(Counter(value for value in values if value is not None).most_common())
