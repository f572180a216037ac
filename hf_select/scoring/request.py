"""What is asked of a run of `score`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hf_select.errors import ArgumentError, ColumnError
from hf_select.rows import audio_column
from hf_select.scoring.segments import SEGMENT_COLUMNS, Segments

__all__ = ["Request"]


@dataclass(frozen=True)
class Request:
    """The arguments of `score` that are not the data, the model or the place: see there."""

    columns: tuple[str, ...]
    label: str = "label"
    text: str = "text"
    batch_size: int = 8
    prefix: str = ""
    overwrite: bool = False
    layer: int | None = None
    pool: str = "mean"
    grid: float | None = None
    audio: str | None = None
    audio_root: str | os.PathLike[str] | None = None
    max_seconds: float = 600.0
    generate: Mapping[str, Any] | None = None
    normalize: Callable[[str], str] | None = None
    num_threads: int | None = None
    segments: Segments | None = None

    @property
    def written(self) -> tuple[str, ...]:
        """The columns that are added."""
        return self.columns if self.segments is None else SEGMENT_COLUMNS

    def check(self, ds: Any) -> None:
        """Raise before anything is loaded what can be known to be wrong."""
        for name in self.written:
            if self.prefix + name in ds.column_names and not self.overwrite:
                raise ColumnError(
                    f"There is a column {self.prefix + name!r} already: pass overwrite=True, or prefix= for another name."
                )
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise ArgumentError(f"batch_size is a whole number of at least 1; got {self.batch_size!r}.")
        if self.pool not in ("mean", "none"):
            raise ArgumentError(f'pool is "mean" or "none"; got {self.pool!r}.')
        if self.layer is not None and (isinstance(self.layer, bool) or not isinstance(self.layer, int)):
            raise ArgumentError(f"layer is a whole number, or None for what the encoder hands on; got {self.layer!r}.")
        if self.num_threads is not None and not self.num_threads >= 1:
            raise ArgumentError(f"num_threads is a whole number of at least 1, or None; got {self.num_threads!r}.")
        if not self.max_seconds > 0:
            raise ArgumentError(f"max_seconds is a number of seconds above 0; got {self.max_seconds!r}.")
        if self.grid is not None and not 0 < self.grid <= self.max_seconds:
            raise ArgumentError(f"grid is a number of seconds above 0, up to max_seconds; got {self.grid!r}.")
        if self.audio_column(ds) not in ds.column_names:
            raise ColumnError(
                f"score hears an audio column, and there is none. Name it with audio=. Columns there are: {', '.join(ds.column_names)}."
            )

    def audio_column(self, ds: Any) -> str:
        """Return the name of the column that is heard."""
        return self.audio or audio_column(ds) or "audio"

    def values(self) -> dict[str, Any]:
        """Return what the scores depend on, in plain values."""
        from datasets.fingerprint import Hasher

        names = ("columns", "label", "text", "prefix", "layer", "pool", "grid", "audio", "max_seconds")
        found = {name: getattr(self, name) for name in names}
        if self.segments is not None:
            found["segments"] = vars(self.segments)
        return found | {
            "generate": dict(self.generate or {}),
            "normalize": self.normalize and Hasher.hash(self.normalize),
        }
