"""CropAudio: clips cut to their segments, as sound of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar

from hf_select.audio import wave_bytes
from hf_select.errors import ArgumentError
from hf_select.transforms.clips import batch_column, config_state, read_clips, restore_config, status_text

if TYPE_CHECKING:
    from datasets import Dataset, Features

__all__ = ["CropAudio"]

_FORMATS = ("FLAC", "WAV")


@dataclass(frozen=True)
class CropAudio:
    """Cut every clip to its segment and store that, so that the rest of it is no longer there.

    Reads: `column`, an Audio column (bytes and path, decoded arrays, or torchcodec decoders), and seconds in `start_column`
    and `end_column` (null: the clip's beginning or end), as `score_segments` and `Selection.apply` write them. Mono.

    Args:
        column, start_column, end_column: see above.
        sampling_rate: Hz; None keeps each clip's own.
        format: "FLAC" or "WAV" (16 bits).
        audio_root: folder that relative paths start from and that paths may not leave.
        max_seconds: the longest segment that is decoded.
        status_column: name of the column with "ok" or "code: detail".

    Returns:
        Called with a batch: `column` as {"bytes", "path"} (the name of the file, without folders, with the new suffix), null
        where there is no sound to cut, and the status.

    Raises:
        ArgumentError: another format. ColumnError: a column is missing. A bad clip raises nothing: it has a status.

    Relations: `AudioInputs(start_column=..., end_column=...)` decodes segments when they are trained on and stores nothing;
    this one is for sending them on. `crop(ds)` maps it over a dataset.

    >>> import numpy as np
    >>> second = {"array": np.sin(np.arange(16000, dtype=np.float32)), "sampling_rate": 16000}
    >>> cut = CropAudio()({"audio": [second], "segment_start": [0.25], "segment_end": [0.5]})
    >>> from hf_select.audio import read_clip
    >>> read_clip(cut["audio"][0]).duration, cut["audio_status"]
    (0.25, ['ok'])
    """

    column: str = "audio"
    start_column: str = "segment_start"
    end_column: str = "segment_end"
    sampling_rate: int | None = None
    format: str = "FLAC"
    audio_root: str | Path | None = None
    max_seconds: float = 600.0
    status_column: str = "audio_status"

    revision: ClassVar[int] = 1  # raised whenever the output changes, so that no cache serves old sound

    def __post_init__(self) -> None:
        """Check the format before any clip is read."""
        if self.format not in _FORMATS:
            raise ArgumentError(f"format is 'FLAC' or 'WAV'; got {self.format!r}.")

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Return the segments of one batch, and their status."""
        names = [item.get("path") if isinstance(item, Mapping) else None for item in batch_column(batch, self.column)]
        found: dict[str, list[Any]] = {self.column: [], self.status_column: []}
        clips = read_clips(
            batch,
            self.column,
            sampling_rate=self.sampling_rate,
            start_column=self.start_column,
            end_column=self.end_column,
            audio_root=self.audio_root,
            max_seconds=self.max_seconds,
        )
        for clip, name in zip(clips, names, strict=True):
            path = None if name is None else PurePosixPath(str(name)).with_suffix(f".{self.format.lower()}").name
            sound = (
                {"bytes": wave_bytes(clip.samples, clip.sampling_rate, self.format), "path": path} if clip.ok else None
            )
            found[self.column].append(sound)
            found[self.status_column].append(status_text(clip))
        return found

    def crop(self, ds: Dataset) -> Dataset:
        """Return a dataset in which each clip is its segment, an Audio column that is not decoded; nothing is cut twice."""
        from datasets import Audio, Features

        features = Features({**ds.features, **self.features})
        cut: Dataset = ds.map(self, batched=True, batch_size=64, features=features, desc="Crop")
        return cut.cast_column(self.column, Audio(sampling_rate=self.sampling_rate, decode=False))

    @property
    def features(self) -> Features:
        """Name and type of every new column, for `Dataset.map(..., features=...)`."""
        from datasets import Features, Value

        return Features(
            {self.column: {"bytes": Value("binary"), "path": Value("string")}, self.status_column: Value("string")}
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return the configuration, which is all that the fingerprint may depend on."""
        return config_state(self)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Restore the configuration."""
        restore_config(self, state)
