"""From sound, or from an MFCC column, to what the LeNets read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from transformers import BatchFeature, SequenceFeatureExtractor
from transformers.utils import logging

from hf_select.errors import ArgumentError, AudioError, ColumnError
from hf_select.rows import raw_batch, raw_column, require_columns, require_dataset
from hf_select.transforms.cepstrum import cepstra
from hf_select.transforms.mfcc import MFCC

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["LeNetFeatureExtractor", "pad_frames"]

logger = logging.get_logger(__name__)


class LeNetFeatureExtractor(SequenceFeatureExtractor):
    """Turn waveforms, or MFCC made before, into the fixed-size matrices that a LeNet reads.

    Reads mono waveforms at `sampling_rate`, or matrices (frames x feature_size) that `mfcc()` made. Both are scaled
    per coefficient by `mean` and `std`, then cut or filled up to `num_frames`.

    Args:
        feature_size: coefficients a frame: the model's num_mfcc.
        sampling_rate: Hz of the waveforms.
        padding_value: what short clips are filled up with; 0 is the mean frame once `fit` has run.
        num_frames: frames that the model reads; 99 are one second.
        win_length, hop_length: window and step in samples; 320 and 160 are 20 ms and 10 ms at 16 kHz.
        n_mels: mel bands under the cosine transform, at least feature_size.
        mean, std: a number per coefficient, or None for no scaling; `fit` sets them.

    Relations: `hf_select.transforms.MFCC` does the sums both ways, so a model trained on a column serves on sound.

    >>> LeNetFeatureExtractor()(np.ones(16000), sampling_rate=16000)["input_features"].shape
    (1, 99, 32)
    """

    model_input_names: ClassVar[list[str]] = ["input_features"]

    def __init__(
        self,
        feature_size: int = 32,
        sampling_rate: int = 16000,
        padding_value: float = 0.0,
        num_frames: int = 99,
        win_length: int = 320,
        hop_length: int = 160,
        n_mels: int = 40,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs["return_attention_mask"] = False
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)
        lengths = {None if values is None else len(values) for values in (mean, std)}
        if lengths not in ({None}, {feature_size}):
            raise ArgumentError(
                f"mean and std hold {feature_size} numbers each, or both are None: got {mean} and {std}."
            )
        self.num_frames, self.win_length, self.hop_length, self.n_mels = num_frames, win_length, hop_length, n_mels
        self.mean = None if mean is None else [float(value) for value in mean]
        self.std = None if std is None else [float(value) for value in std]

    def mfcc(self, **fields: Any) -> MFCC:
        """Return the transform that makes the `mfcc` column for this extractor; `fields` are its other fields."""
        return MFCC(
            sampling_rate=self.sampling_rate,
            n_mfcc=self.feature_size,
            n_fft=self.win_length,
            win_length=self.win_length,
            hop_length=self.hop_length,
            n_mels=self.n_mels,
            center=False,
            **fields,
        )

    def fit(self, matrices: Iterable[Any], *, per_coefficient: bool = False) -> LeNetFeatureExtractor:
        """Set `mean` and `std` to those of all frames of the training matrices, and return self.

        Reads matrices (frames x feature_size) one by one, so a column of any length will do: `fit(ds["mfcc"])`. Rows
        that are None (unreadable clips) are left out; where nothing ever changes the deviation is 1.

        Args:
            matrices: the MFCC of the training rows, and of no others.
            per_coefficient: give every coefficient its own deviation. By default all share one (the root of the mean
                variance), which leaves the low coefficients, where the sound is, larger than the high ones: the LeNets
                learn better from that.

        Raises:
            ColumnError: no matrix at all, or one that is not frames x feature_size.
        """
        count, mean, squares = 0, np.zeros(self.feature_size), np.zeros(self.feature_size)
        for row, matrix in enumerate(matrices):
            if matrix is None:
                continue
            frames = self._frames(matrix, row).astype(np.float64)
            step, total = frames.mean(axis=0) - mean, count + len(frames)  # merging means keeps all digits
            squares += frames.var(axis=0) * len(frames) + step**2 * (count * len(frames) / total)
            mean, count = mean + step * (len(frames) / total), total
        if not count:
            raise ColumnError("There is no MFCC to fit on: every row is null. Check audio_status.")
        std = np.sqrt(squares / count if per_coefficient else np.full_like(squares, squares.mean() / count))
        self.mean, self.std = mean.tolist(), np.where(std > 1e-6, std, 1.0).tolist()
        return self

    def __call__(
        self, raw_speech: Any, sampling_rate: int | None = None, return_tensors: str | None = None, **kwargs: Any
    ) -> BatchFeature:
        """Return `input_features`, float32 (batch, num_frames, feature_size), of one mono waveform or several.

        Args:
            raw_speech: a waveform (samples,), a list of waveforms, or an array (batch, samples).
            sampling_rate: Hz of `raw_speech`; give it, so that another rate is noticed.
            return_tensors: "pt", "np", or None for numpy.
            kwargs: not used; other extractors take padding and truncation, here the size is fixed.

        Raises:
            AudioError: another sampling rate, several channels, a clip that is empty or not finite.
        """
        if sampling_rate is None:
            logger.warning_once("LeNetFeatureExtractor was not told the sampling_rate: a wrong one goes unnoticed.")
        elif sampling_rate != self.sampling_rate:
            raise AudioError(
                f"Clips have {sampling_rate} Hz and this extractor works at {self.sampling_rate} Hz. Resample them, "
                f"in datasets with cast_column('audio', Audio(sampling_rate={self.sampling_rate}))."
            )
        several = len(raw_speech) > 0 and np.ndim(raw_speech[0]) > 0
        clips = [np.asarray(clip, dtype=np.float32) for clip in (raw_speech if several else [raw_speech])]
        for index, clip in enumerate(clips):
            if clip.ndim != 1 or not clip.size or not np.isfinite(clip).all():
                raise AudioError(f"Clip {index}, of shape {clip.shape}, is no mono waveform of finite samples.")
        features = self._stack(cepstra(clips, self.mfcc().recipe))
        return BatchFeature({"input_features": features}, tensor_type=return_tensors)

    def from_mfcc(self, batch: Mapping[str, Any], column: str = "mfcc") -> dict[str, np.ndarray]:
        """Return `input_features`, float32 (rows, num_frames, feature_size), of rows that hold an MFCC column already.

        Reads `column` of a batch, as `map(batched=True)` and `set_transform` hand it over; nothing is decoded.

        Raises:
            ColumnError: no such column, a row without a matrix, another number of coefficients.
        """
        rows = raw_batch(batch)
        if column not in list(rows):
            raise ColumnError(f"There is no column {column!r} in this batch. Columns there are: {', '.join(rows)}.")
        return {"input_features": self._stack(rows[column])}

    def inputs(self, ds: Dataset, column: str = "mfcc", label_column: str | None = "label") -> Dataset:
        """Return a dataset of `input_features` and `labels` for the Trainer: prepared once, not in every epoch.

        Each matrix is stored flat: `datasets` reads flat rows several times faster than 2-D ones, and the model takes
        them.

        Args:
            ds: a map-style dataset with an MFCC column. It is not changed, and its other columns are left behind.
            column: the MFCC column, as `mfcc()` makes it.
            label_column: integers from 0 (a ClassLabel), or None where there are no labels.

        Raises:
            ColumnError: a missing column, labels that are no integers, a row without a matrix.
        """
        from datasets import Features, List, Value

        require_dataset(ds, "LeNetFeatureExtractor.inputs")
        names = [column] if label_column is None else [column, label_column]
        require_columns(ds, names, "LeNetFeatureExtractor.inputs")
        features = Features({"input_features": List(Value("float32"), length=self.num_frames * self.feature_size)})
        if label_column is not None:
            features["labels"] = ds.features[label_column]
            if "int" not in str(getattr(features["labels"], "dtype", None)):
                kind = features["labels"]
                raise ColumnError(f"Labels are integers, and {label_column!r} holds {kind}: use class_encode_column.")
        missing = np.flatnonzero(raw_column(ds, column).is_null().to_numpy())
        if len(missing):
            there = f"{len(missing)} of {len(ds)} rows, the first is row {missing[0]}"
            raise ColumnError(f"No MFCC in {there}: their clips can't be read. Keep the rows with audio_status 'ok'.")

        def prepare(batch: Mapping[str, Any]) -> dict[str, Any]:
            flat = {"input_features": self._stack(batch[column]).reshape(len(batch[column]), -1)}
            return flat if label_column is None else {**flat, "labels": batch[label_column]}

        thin = ds.with_format(None).select_columns(names)
        thin = thin.map(prepare, batched=True, remove_columns=names, features=features, desc="input_features")
        return thin.with_format("torch")

    def _stack(self, matrices: Iterable[Any]) -> np.ndarray:
        """Scale and pad matrices of any number of frames: float32 (rows, num_frames, feature_size)."""
        stacked = []
        for row, matrix in enumerate(matrices):
            if matrix is None:
                raise ColumnError(f"Row {row} of this batch has no MFCC: leave out the rows whose clip is unreadable.")
            frames = self._frames(matrix, row)
            if self.mean is not None:
                frames = (frames - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
            stacked.append(pad_frames(frames, self.num_frames, self.padding_value))
        return np.stack(stacked) if stacked else np.empty((0, self.num_frames, self.feature_size), np.float32)

    def _frames(self, matrix: Any, row: int) -> np.ndarray:
        frames = np.asarray(matrix, dtype=np.float32)
        if frames.ndim != 2 or frames.shape[1] != self.feature_size or not len(frames) or not np.isfinite(frames).all():
            raise ColumnError(
                f"Row {row} should hold frames x {self.feature_size} finite coefficients and has shape {frames.shape}: "
                "make the column with this extractor's mfcc()."
            )
        return frames


def pad_frames(mfcc: np.ndarray, num_frames: int, value: float = 0.0) -> np.ndarray:
    """Return the first `num_frames` frames of one matrix (frames x coefficients), filled up at the end with `value`.

    >>> pad_frames(np.ones((2, 3)), 4).sum(axis=1).tolist()
    [3.0, 3.0, 0.0, 0.0]
    """
    cut = mfcc[:num_frames]
    return np.pad(cut, ((0, num_frames - len(cut)), (0, 0)), constant_values=value)
