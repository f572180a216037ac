"""Duration: how long each clip really is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hf_select.transforms.clips import config_state, file_stamps, read_clips, restore_config, status_text

if TYPE_CHECKING:
    from datasets import Features

__all__ = ["Duration"]


@dataclass(frozen=True)
class Duration:
    """Measure the decoded length of every clip in seconds, at the clip's own sampling rate.

    Reads: `column`, an Audio column (bytes and path, decoded arrays, or torchcodec decoders).
    A header is not believed: the samples are decoded and counted, so that a budget of hours is a budget of sound.

    Args:
        column: the Audio column.
        duration_column: name of the new column, float64 seconds; null where the clip can't be used.
        declared_column: if given, also write under this name the seconds that the container declares, where it
            declares any; also for clips that can't be used, since a header that lies is worth seeing.
        audio_root: folder that relative paths start from and that paths may not leave.
        max_seconds: clips longer than this (in seconds, more than 0) are not read: status `too_long`.
        status_column: name of the column with "ok" or "code: detail"; None to leave it out.

    Returns:
        Called with a batch: a dict of the new columns, one value a row.

    Raises:
        ColumnError: when there is no `column`. A bad clip raises nothing: it has a status.

    Relations: `MFCC(duration_column=...)` gives the same numbers in the same pass that makes the MFCC.

    >>> import numpy as np
    >>> second = {"array": np.sin(np.arange(16000, dtype=np.float32)), "sampling_rate": 16000}
    >>> Duration()({"audio": [second, None]})["duration"]
    [1.0, None]
    """

    column: str = "audio"
    duration_column: str = "duration"
    declared_column: str | None = None
    audio_root: str | Path | None = None
    max_seconds: float = 600.0
    status_column: str | None = "audio_status"

    revision: ClassVar[int] = 1  # raised whenever the output changes, so that no cache serves old numbers

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Return the new columns of one batch."""
        durations: list[float | None] = []
        declared: list[float | None] = []
        statuses: list[str] = []
        for clip in read_clips(batch, self.column, audio_root=self.audio_root, max_seconds=self.max_seconds):
            durations.append(clip.duration if clip.ok else None)
            declared.append(clip.declared)
            statuses.append(status_text(clip))
        columns: dict[str, list[Any]] = {self.duration_column: durations}
        if self.declared_column:
            columns[self.declared_column] = declared
        if self.status_column:
            columns[self.status_column] = statuses
        return columns

    @property
    def features(self) -> Features:
        """Name and type of every new column, for `Dataset.map(..., features=...)`."""
        from datasets import Features, Value

        columns = {self.duration_column: Value("float64")}
        if self.declared_column:
            columns[self.declared_column] = Value("float64")
        if self.status_column:
            columns[self.status_column] = Value("string")
        return Features(columns)

    def depends_on(self, ds: Any) -> list[str]:
        """Return what the values depend on besides the rows: size and time of the files that rows name."""
        return file_stamps(ds, self.column, self.audio_root)

    def __getstate__(self) -> dict[str, Any]:
        """Return the configuration, which is all that the fingerprint may depend on."""
        return config_state(self)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Restore the configuration."""
        restore_config(self, state)
