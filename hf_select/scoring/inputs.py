"""From clips to what the model takes: features clip by clip, then batches of them with masks."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from hf_select.errors import ArgumentError
from hf_select.scoring.model import SpeechModel

__all__ = ["Batch", "Inputs"]

_CPU_VALUES = 160_000  # of features in a forward pass on the CPU: ten seconds of waveform


class Batch:
    """Clips that share a forward pass.

    Attributes:
        tensors: the model's arguments.
        samples: real samples of each clip.
        units: length of each clip along the axis that was filled up, None where nothing varies.
        waveform: whether the units are samples.
        cuts: of segments: where those of each clip start and end, in seconds.
    """

    cuts: list[Any] | None = None

    def __init__(self, tensors: dict[str, Any], samples: list[int], units: list[int] | None, waveform: bool) -> None:
        self.tensors, self.samples, self.units, self.waveform = tensors, samples, units, waveform

    def __len__(self) -> int:
        return len(self.samples)


class Inputs:
    """Make features of clips and put them into batches.

    Args:
        model: what they are for.
        device: where the batches go.
        grid: seconds; clips are filled up with silence to a multiple of it. None: they are left as they are.
    """

    def __init__(self, model: SpeechModel, device: Any, grid: float | None = None) -> None:
        self.extractor, self.rate, self.device = model.extractor, model.rate, device
        self.grid = None if grid is None else max(1, round(grid * model.rate))
        self.name = str(self.extractor.model_input_names[0])
        encoder = model.module.get_encoder() if model.kind == "seq2seq" else model.module
        self.dtype = model.module.dtype
        self.takes_mask = "attention_mask" in inspect.signature(encoder.forward).parameters
        self.mode = "masked"  # until a probe has found out
        self._axis = self._varying_axis()
        self.shortest = _shortest(model)
        self.hears = _hears(self.extractor) if self._axis is None else None

    def features(self, samples: np.ndarray) -> np.ndarray:
        """Return the features of one clip, made by its extractor alone: no other clip can have a part in them."""
        if self.grid is not None:
            samples = np.pad(samples, (0, -len(samples) % self.grid))
        return self._extract(samples)

    def take(self, samples: np.ndarray, _key: str | None) -> tuple[np.ndarray, np.ndarray | None]:
        """Return (features of a clip, where it is cut: not at all)."""
        return self.features(samples), None

    def batch_of(self, heard: Sequence[Any]) -> Batch:
        """Put clips that were heard into one batch."""
        return self.batch([clip.features for clip in heard], [clip.samples for clip in heard])

    def _extract(self, samples: np.ndarray) -> np.ndarray:
        found = self.extractor(samples, sampling_rate=self.rate, return_tensors="np")
        return np.asarray(found[self.name][0], dtype=np.float32)

    def batch(self, features: Sequence[np.ndarray], samples: Sequence[int]) -> Batch:
        """Put the features of several clips into one batch, filled up to the longest."""
        import torch

        units = None if self._axis is None else [array.shape[self._axis] for array in features]
        longest = 0 if units is None else max(units)
        value = float(getattr(self.extractor, "padding_value", 0.0))
        filled = [array if units is None else _fill(array, self._axis or 0, longest, value) for array in features]
        tensors = {self.name: torch.from_numpy(np.stack(filled)).to(self.device, self.dtype)}
        if units is not None and self.takes_mask and self.mode == "masked":
            real = np.arange(longest) < np.array(units)[:, None]
            tensors["attention_mask"] = torch.from_numpy(real.astype(np.int64)).to(self.device)
        return Batch(tensors, list(samples), units, features[0].ndim == 1)

    def groups(self, features: Sequence[np.ndarray]) -> list[list[int]]:
        """Return which clips of a batch share a forward pass: those of one shape, unless they may be filled up.

        On the CPU a pass takes no more than its caches do well with; the passes then go through threads side by side,
        each alone on its core, so that no number of cores changes a value.
        """
        shapes: dict[Any, list[int]] = {}
        for place, array in enumerate(features):
            shapes.setdefault(array.shape if self.mode == "exact" else None, []).append(place)
        if self.device.type != "cpu":
            return list(shapes.values())
        groups: list[list[int]] = []
        for places in shapes.values():
            groups.append([])
            for place in places:
                longest = max(features[other].size for other in (*groups[-1], place))
                if groups[-1] and longest * (len(groups[-1]) + 1) > _CPU_VALUES:
                    groups.append([])
                groups[-1].append(place)
        return groups

    def lengths(self, features: Sequence[np.ndarray]) -> list[int]:
        """Return the length of each clip along the axis that is filled up; nothing where none is."""
        return [] if self._axis is None else [array.shape[self._axis] for array in features]

    def _varying_axis(self) -> int | None:
        """Return the axis along which features of a longer clip are longer, None if all have one shape."""
        noise = np.random.default_rng(0).normal(0, 0.1, self.rate).astype(np.float32)
        try:
            long, short = (self._extract(clip).shape for clip in (noise, noise[: self.rate // 2]))
        except Exception as error:
            raise ArgumentError(f"{type(self.extractor).__name__} fails on a second of noise: {error}") from error
        axes = [axis for axis, (a, b) in enumerate(zip(long, short, strict=True)) if a != b]
        return axes[0] if axes else None


def _shortest(model: SpeechModel) -> int:
    """Return the samples from which the convolutions over the waveform make one frame."""
    config, samples = model.module.config, 1
    if model.extractor.model_input_names[0] == "input_values" and getattr(config, "conv_kernel", None):
        for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
            samples = (samples - 1) * stride + kernel
    return samples


def _hears(extractor: Any) -> float | None:
    """Return the seconds to which an extractor of one fixed length cuts clips, None where that is not known."""
    if hasattr(extractor, "n_samples"):  # Whisper
        return float(extractor.n_samples / extractor.sampling_rate)
    if hasattr(extractor, "num_frames"):  # the LeNets
        return float(
            (extractor.win_length + (extractor.num_frames - 1) * extractor.hop_length) / extractor.sampling_rate
        )
    if hasattr(extractor, "num_mel_bins") and hasattr(extractor, "max_length"):  # AST: 100 frames a second
        return float(extractor.max_length / 100)
    return None


def _fill(array: np.ndarray, axis: int, length: int, value: float) -> np.ndarray:
    widths = [(0, length - size if place == axis else 0) for place, size in enumerate(array.shape)]
    return np.pad(array, widths, constant_values=value)
