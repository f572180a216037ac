"""Small classifiers on MFCC with which a subset is judged in seconds: the LeNets of the cluster-pruning paper.

Importing this module registers them: `AutoConfig`, `AutoModelForAudioClassification`, `AutoFeatureExtractor` and
`AutoProcessor` then know `model_type: "hf_select_lenet"`. From sound to a trained model:

    extractor = LeNetFeatureExtractor()
    ds = with_columns(ds, extractor.mfcc())     # decode once: a thin column `mfcc`
    extractor.fit(ds["mfcc"])                   # means and deviation of the training rows
    train = extractor.inputs(ds)                # input_features and labels, as the Trainer wants them
    model = LeNetForAudioClassification(LeNetConfig(size="tiny", num_labels=12))
    Trainer(model, args, train_dataset=train, processing_class=extractor).train()

Paper's recipe: Adam at 5e-3, batches of 512, up to 170 epochs, the rate reduced when the validation loss stands still,
early stopping. As `TrainingArguments`: `learning_rate=5e-3, weight_decay=0.0, per_device_train_batch_size=512,
num_train_epochs=170, lr_scheduler_type="reduce_lr_on_plateau", eval_strategy="epoch", save_strategy="epoch",
metric_for_best_model="eval_loss", load_best_model_at_end=True`, with an `EarlyStoppingCallback`.

Ours, since the paper is silent: dropout stands before every dense layer, weights start as He's uniform, frames last
20 ms and come every 10 ms, coefficients are centred and share one deviation, short clips are filled up with mean frames.

Reference: the cluster-pruning paper, section 3 (networks of 3.5k, 29k and 270k parameters), the layers from its code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    AutoProcessor,
    BatchFeature,
    PreTrainedConfig,
    PreTrainedModel,
    SequenceFeatureExtractor,
)
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import logging
from transformers.utils.generic import can_return_tuple

from hf_select.errors import AudioError, ColumnError
from hf_select.rows import raw_batch, raw_column, require_columns, require_dataset
from hf_select.transforms.cepstrum import cepstra
from hf_select.transforms.mfcc import MFCC

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["LENET_LAYERS", "LeNetConfig", "LeNetFeatureExtractor", "LeNetForAudioClassification", "pad_frames"]

logger = logging.get_logger(__name__)

POOLING = 2  # every convolution is followed by an average over 2 x 2
LENET_LAYERS: dict[str, dict[str, list[Any]]] = {
    "large": {"conv_channels": [6, 16], "conv_kernels": [[2, 2], [5, 3]], "dense_sizes": [120, 84]},
    "small": {"conv_channels": [3, 8, 16], "conv_kernels": [[2, 2], [5, 3], [5, 3]], "dense_sizes": [84]},
    "tiny": {"conv_channels": [4, 8, 8, 16], "conv_kernels": [[2, 2], [2, 2], [4, 2], [4, 2]], "dense_sizes": []},
}


class LeNetConfig(PreTrainedConfig):
    """Describe a LeNet on MFCC: one of the paper's three sizes, or layers of your own.

    Args:
        size: "large" (268,270 parameters at 36 labels), "small" (29,655; the default), "tiny" (3,480), or "custom",
            which the three layer lists imply.
        num_frames, num_mfcc: the input, frames x coefficients, from 1: 99 x 32 is one second as the paper has it.
        conv_channels: channels of every convolution. Convolutions are valid (no padding), each followed by ReLU and an
            average over 2 x 2.
        conv_kernels: `[frames, coefficients]` of every kernel, as many as there are channels.
        dense_sizes: widths of the dense layers between the convolutions and the classifier; may be empty.
        dropout: share of values dropped before every dense layer, from 0 (none) to under 1.
        kwargs: num_labels, id2label, label2id and the like, as in every transformers config (2 labels by default).

    Raises:
        ValueError: layers that contradict `size` or each other, or an input that is too small for the convolutions.

    Reference: the cluster-pruning paper, section 3.
    Relations: "small" has more convolutions and fewer weights than "large"; "tiny" has no dense layer before the last.

    >>> LeNetConfig(size="tiny").feature_maps
    [(49, 15), (24, 7), (10, 3), (3, 1)]
    >>> LeNetConfig(size="tiny", num_frames=199).feature_maps[-1]
    (10, 1)
    """

    model_type = "hf_select_lenet"

    def __init__(
        self,
        size: str | None = None,
        num_frames: int = 99,
        num_mfcc: int = 32,
        conv_channels: Sequence[int] | None = None,
        conv_kernels: Sequence[Sequence[int]] | None = None,
        dense_sizes: Sequence[int] | None = None,
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        lists = {"conv_channels": conv_channels, "conv_kernels": conv_kernels, "dense_sizes": dense_sizes}
        given = [name for name, values in lists.items() if values is not None]
        if given and len(given) < len(lists):
            raise ValueError(f"Give {', '.join(lists)} together, or only a size; got {', '.join(given)}.")
        self.size = size or ("custom" if given else "small")
        layers: Mapping[str, Any] = lists if given else LENET_LAYERS.get(self.size, {})
        self.conv_channels: list[int] = list(layers.get("conv_channels", []))
        self.conv_kernels: list[list[int]] = [list(np.atleast_1d(k).tolist()) for k in layers.get("conv_kernels", [])]
        self.dense_sizes: list[int] = list(layers.get("dense_sizes", []))
        self.num_frames, self.num_mfcc, self.dropout = num_frames, num_mfcc, dropout
        super().__init__(**kwargs)
        self.check_layers()

    @property
    def feature_maps(self) -> list[tuple[int, int]]:
        """Return (frames, coefficients) after every convolution and its pooling."""
        maps, height, width = [], self.num_frames, self.num_mfcc
        for kernel in self.conv_kernels:
            height, width = (height - kernel[0] + 1) // POOLING, (width - kernel[1] + 1) // POOLING
            maps.append((max(height, 0), max(width, 0)))
        return maps

    @property
    def flat_size(self) -> int:
        """Return how many numbers the convolutions hand to the first dense layer."""
        height, width = self.feature_maps[-1]
        return self.conv_channels[-1] * height * width

    def check_layers(self) -> None:
        """Raise a ValueError where the model can't be built. The model asks again, since a config can be edited."""
        names = ("conv_channels", "conv_kernels", "dense_sizes")
        layers = {name: getattr(self, name) for name in names}
        if self.size not in (*LENET_LAYERS, "custom") or not self.conv_channels:
            sizes = ", ".join(map(repr, LENET_LAYERS))
            raise ValueError(f"size={self.size!r} has no layers: choose one of {sizes}, or give {', '.join(names)}.")
        if self.size != "custom" and layers != LENET_LAYERS[self.size]:
            raise ValueError(f"These are not the layers of size {self.size!r}: {layers}. Give the layers or the size.")
        if len(self.conv_channels) != len(self.conv_kernels) or any(len(kernel) != 2 for kernel in self.conv_kernels):
            raise ValueError(f"Every convolution needs its channels and a kernel of two sides, and these are {layers}.")
        sides = [side for kernel in self.conv_kernels for side in kernel]
        numbers = [*self.conv_channels, *sides, *self.dense_sizes, self.num_frames, self.num_mfcc]
        if any(type(number) is not int or number < 1 for number in numbers):
            shape = f"num_frames={self.num_frames!r}, num_mfcc={self.num_mfcc!r}"
            raise ValueError(f"Sizes are whole numbers of at least 1, and these are {layers}, {shape}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be from 0 to under 1, and is {self.dropout!r}.")
        if not self.num_labels:
            raise ValueError("num_labels must be at least 1, and is 0.")
        if 0 in self.feature_maps[-1]:
            raise ValueError(
                f"{self.num_frames} frames x {self.num_mfcc} coefficients are too small an input for the kernels "
                f"{self.conv_kernels}: after each convolution and pooling there remain {self.feature_maps}. Raise "
                "num_frames or num_mfcc, or use fewer convolutions."
            )


class LeNetForAudioClassification(PreTrainedModel):
    """Classify MFCC matrices of a fixed size: convolutions with ReLU and average pooling, then dense layers.

    Reads `input_features`, float (batch, num_frames, num_mfcc), or flat (batch, num_frames * num_mfcc), which a data
    loader reads faster, and `labels`, int64 (batch,). `LeNetFeatureExtractor` makes them.

    Reference: the cluster-pruning paper, section 3; the recipe stands at the top of this module.
    Relations: the three sizes share this class; `LeNetConfig` tells them apart.

    >>> model = LeNetForAudioClassification(LeNetConfig(size="large", num_labels=36))
    >>> f"{model.num_parameters():,}"
    '268,270'
    """

    config_class = LeNetConfig
    config: LeNetConfig
    base_model_prefix = "lenet"
    main_input_name = "input_features"
    input_modalities = "audio"

    def __init__(self, config: LeNetConfig) -> None:
        super().__init__(config)
        config.check_layers()
        channels, widths = [1, *config.conv_channels], [config.flat_size, *config.dense_sizes]
        kernels = [(frames, coefficients) for frames, coefficients in config.conv_kernels]
        self.convolutions = nn.ModuleList(map(nn.Conv2d, channels, channels[1:], kernels))
        self.dense = nn.ModuleList(map(nn.Linear, widths, widths[1:]))
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(widths[-1], config.num_labels or 0)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Start weights as He's uniform, which keeps the variance through ReLU layers, and biases at zero."""
        if isinstance(module, nn.Conv2d | nn.Linear):
            init.kaiming_uniform_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)

    @can_return_tuple
    def forward(
        self,
        input_features: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Return logits, the loss where labels are given, and the activations where they are asked for.

        Args:
            input_features: float (batch, num_frames, num_mfcc), or flat (batch, num_frames * num_mfcc).
            labels: int64 (batch,), from 0 to num_labels - 1.
            output_hidden_states: also return the activations after every pooling and every dense layer; the last one,
                flattened, is what the classifier sees (before dropout).
            kwargs: passed to the loss (the Trainer gives `num_items_in_batch`).

        Raises:
            ValueError: no input, or one of another size than the config says.
        """
        hidden = self._as_images(input_features)
        states = []
        for convolution in self.convolutions:
            hidden = nn.functional.avg_pool2d(nn.functional.relu(convolution(hidden)), POOLING)
            states.append(hidden)
        hidden = hidden.flatten(1)
        for dense in self.dense:
            hidden = nn.functional.relu(dense(self.dropout(hidden)))
            states.append(hidden)
        logits = self.classifier(self.dropout(hidden))
        loss = None if labels is None else self.loss_function(labels, logits, self.config, **kwargs)
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=tuple(states) if wanted else None)

    def _as_images(self, features: torch.Tensor | None) -> torch.Tensor:
        """Return the input as (batch, 1, num_frames, num_mfcc) in the dtype of the weights."""
        frames, mfcc = self.config.num_frames, self.config.num_mfcc
        if features is None or tuple(features.shape[1:]) not in ((frames, mfcc), (frames * mfcc,)):
            seen = "nothing" if features is None else f"shape {tuple(features.shape)}"
            raise ValueError(
                f"This model reads input_features of shape (batch, {frames}, {mfcc}) and got {seen}. Make them with "
                f"LeNetFeatureExtractor(num_frames={frames}, feature_size={mfcc}), or build the model for your input."
            )
        return features.reshape(-1, 1, frames, mfcc).to(self.dtype)


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
            raise ValueError(f"mean and std hold {feature_size} numbers each, or both are None: got {mean} and {std}.")
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


AutoConfig.register(LeNetConfig.model_type, LeNetConfig, exist_ok=True)
AutoModelForAudioClassification.register(LeNetConfig, LeNetForAudioClassification, exist_ok=True)
AutoFeatureExtractor.register(LeNetConfig, LeNetFeatureExtractor, exist_ok=True)
AutoProcessor.register(LeNetConfig, LeNetFeatureExtractor, exist_ok=True)
