"""AudioInputs: from rows with sound to what a transformers model takes, on any box."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hf_select.errors import ArgumentError, AudioError, ColumnError
from hf_select.transforms.clips import batch_column, config_state, read_clips, restore_config, status_text

if TYPE_CHECKING:
    from datasets import Features

__all__ = ["AudioInputs"]

logger = logging.getLogger("hf_select")


@dataclass(frozen=True)
class AudioInputs:
    """Turn clips into a model's inputs with its own processor, for `Dataset.map` and `Dataset.set_transform`.

    Reads: `column`, an Audio column (bytes and path, decoded arrays, or torchcodec decoders); mono, resampled to the
    processor's rate (said once, as a warning of the logger "hf_select"). It decodes without ffmpeg. For
    `set_transform` cast the column to `Audio(decode=False)` first, else `datasets` itself decodes the rows before this
    is called; `map` needs no cast.

    Args:
        processor: a transformers feature extractor for sound, or a processor that holds one (of which only that is
            kept).
        column: the Audio column.
        label_column: column of labels, given on as "labels": whole numbers (a ClassLabel's are), or with `label2id` any
            value. None gives no labels.
        label2id: the number of each label, as in a model's config.
        start_column: column of the seconds where each clip starts (0 is its beginning; null too); None reads from the
            beginning.
        end_column: column of the seconds where each clip ends (null is its end); None reads to the end.
        audio_root: folder that relative paths start from and that paths may not leave.
        max_seconds: clips longer than this (in seconds, more than 0) are an error.

    Returns:
        Called with a batch: a dict of the processor's outputs (`input_values` or `input_features`, and `attention_mask`
        where its configuration gives one), one value a row, as it makes them by default: Wav2Vec2's are not padded (a
        padding collator does that), Whisper's and AST's have one length.

    Raises:
        ArgumentError: at construction, when `processor` has no sampling rate.
        ColumnError: when a column is missing, or a label is no whole number and not in `label2id`.
        AudioError: when a clip can't be read: a training batch can't do without it. Filter on the status column of
            `Duration` or `MFCC` first.

    Relations: `MFCC` and `Duration` go on at a bad clip and say so in a column; this one stops.

    >>> import numpy as np
    >>> from transformers import Wav2Vec2FeatureExtractor
    >>> second = {"array": np.sin(np.arange(16000, dtype=np.float32)), "sampling_rate": 16000}
    >>> inputs = AudioInputs(Wav2Vec2FeatureExtractor(), label_column="label")({"audio": [second], "label": [3]})
    >>> inputs["input_values"][0].shape, inputs["labels"]
    ((16000,), [3])
    """

    processor: Any
    column: str = "audio"
    label_column: str | None = None
    label2id: Mapping[Any, int] | None = None
    start_column: str | None = None
    end_column: str | None = None
    audio_root: str | Path | None = None
    max_seconds: float = 600.0

    revision: ClassVar[int] = 1  # raised whenever the output changes, so that no cache serves old numbers

    def __post_init__(self) -> None:
        """Keep the feature extractor alone: a tokenizer changes as it is used, and with it the fingerprint."""
        extractor = getattr(self.processor, "feature_extractor", self.processor)
        object.__setattr__(self, "processor", extractor)
        if not isinstance(getattr(extractor, "sampling_rate", None), int) or not callable(extractor):
            raise ArgumentError(
                "processor must be a feature extractor for sound, with a sampling_rate, or a processor that holds one; "
                f"got {type(extractor).__name__}. Load one by transformers.AutoFeatureExtractor.from_pretrained(model)."
            )

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return the model's inputs for one batch, and its labels."""
        rate = self.processor.sampling_rate
        clips = read_clips(
            batch,
            self.column,
            sampling_rate=rate,
            start_column=self.start_column,
            end_column=self.end_column,
            audio_root=self.audio_root,
            max_seconds=self.max_seconds,
        )
        samples = []
        for row, clip in enumerate(clips):
            if not clip.ok:
                raise AudioError(
                    f"{self._name(batch, row)} can't be read: {status_text(clip)}. Add a status column first and keep "
                    'the rows where it is "ok": ds.map(Duration(), batched=True).filter(lambda status: status == "ok", '
                    'input_columns=["audio_status"]).'
                )
            if clip.source_rate != rate:
                say_resampled(clip.source_rate, rate)
            samples.append(clip.samples)
        outputs = self.processor(samples, sampling_rate=rate)
        columns = {name: list(outputs[name]) for name in self.processor.model_input_names if name in outputs}
        if self.label_column:
            columns["labels"] = [self._label(value) for value in batch_column(batch, self.label_column)]
        return columns

    def _name(self, batch: Mapping[str, Any], row: int) -> str:
        audio = batch_column(batch, self.column)[row]
        path = audio.get("path") if isinstance(audio, Mapping) else None
        return f"Row {row} of this batch, clip {path!r}," if path else f"Row {row} of this batch"

    def _label(self, value: Any) -> int:
        if self.label2id is not None:
            if value not in self.label2id:
                raise ColumnError(
                    f"Column {self.label_column!r} holds {value!r}, which is not in label2id. Labels there are: "
                    f"{', '.join(map(repr, self.label2id))}."
                )
            return int(self.label2id[value])
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise ColumnError(
                f"Labels must be whole numbers, and column {self.label_column!r} holds {value!r}. Use "
                f"ds = ds.class_encode_column({self.label_column!r}), or give label2id=model.config.label2id."
            )
        return int(value)

    @property
    def features(self) -> Features:
        """Name and type of every new column, for `Dataset.map(..., features=...)`, found with a second of silence."""
        from datasets import Features, List, Value

        second = np.zeros(self.processor.sampling_rate, np.float32)
        outputs = self.processor([second], sampling_rate=self.processor.sampling_rate)
        columns = {}
        for name in self.processor.model_input_names:
            if name in outputs:
                value = np.asarray(outputs[name][0])
                columns[name] = Value(str(value.dtype))
                for _ in range(value.ndim):
                    columns[name] = List(columns[name])
        if self.label_column:
            columns["labels"] = Value("int64")
        return Features(columns)

    def __getstate__(self) -> dict[str, Any]:
        """Return the configuration, which is all that the fingerprint may depend on."""
        return config_state(self)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Restore the configuration."""
        restore_config(self, state)


@lru_cache(maxsize=256)
def say_resampled(source: int, target: int) -> None:
    """Say once per pair of rates and process that clips are resampled."""
    logger.warning("Clips of %d Hz are resampled to %d Hz, the processor's rate.", source, target)
