"""What all audio transforms share: the clips of a batch, their status in words, and a state that hashes stably."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from hf_select.audio import Clip, read_clip
from hf_select.errors import ColumnError
from hf_select.rows import audio_lengths, raw_batch, raw_column
from hf_select.sound.own_files import file_stamp

__all__ = ["batch_column", "config_state", "file_stamps", "read_clips", "restore_config", "status_text"]


def batch_column(batch: Mapping[str, Any], name: str) -> Any:
    """Return one column of a batch, decoding nothing; a missing one is an error that names those there are."""
    rows = raw_batch(batch)
    names = list(rows)  # `name in rows` would convert the whole column
    if name not in names:
        raise ColumnError(
            f"There is no column {name!r} in this batch. Columns there are: {', '.join(names) or 'none'}."
        )
    return rows[name]


def read_clips(
    batch: Mapping[str, Any],
    column: str,
    *,
    sampling_rate: int | None = None,
    start_column: str | None = None,
    end_column: str | None = None,
    audio_root: str | Path | None = None,
    max_seconds: float = 600.0,
) -> Iterator[Clip]:
    """Read the clips of a batch one by one, in row order, so that only the caller decides how many stay in memory."""
    audio = batch_column(batch, column)
    starts = batch_column(batch, start_column) if start_column else [None] * len(audio)
    ends = batch_column(batch, end_column) if end_column else [None] * len(audio)
    for item, start, end in zip(audio, starts, ends, strict=True):
        yield read_clip(
            item, sampling_rate=sampling_rate, start=start, end=end, audio_root=audio_root, max_seconds=max_seconds
        )


def file_stamps(ds: Any, column: str, audio_root: str | Path | None) -> list[str]:
    """Return size and time of the files that rows name instead of holding bytes: a mended file is read again.

    Only inside `audio_root`; files of the Hub's cache never change.
    """
    if audio_root is None or type(ds.features.get(column)).__name__ != "Audio":
        return []
    alone = audio_lengths(ds, column) < 0
    paths = raw_column(ds, column, "path").to_pylist() if alone.any() else []
    return [file_stamp(path, audio_root) for path, here in zip(paths, alone, strict=False) if here]


def status_text(clip: Clip) -> str:
    """Return "ok", or the reason why the clip can't be used as "code: detail"."""
    return "ok" if clip.ok else f"{clip.status}: {clip.detail}"


def config_state(transform: Any) -> dict[str, Any]:
    """Return what a transform is pickled as: its fields and its revision, nothing that use could change."""
    return {
        "revision": transform.revision,
        **{field.name: getattr(transform, field.name) for field in fields(transform)},
    }


def restore_config(transform: Any, state: Mapping[str, Any]) -> None:
    """Set the fields of a frozen transform from its pickled state."""
    for field in fields(transform):
        object.__setattr__(transform, field.name, state[field.name])
