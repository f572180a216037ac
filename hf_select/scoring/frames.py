"""Which frames of a hidden state are sound, and which are what a clip was filled up with."""

from __future__ import annotations

import inspect
import math

import numpy as np

from hf_select.scoring.inputs import Batch
from hf_select.scoring.model import SpeechModel

__all__ = ["real_frames"]


def real_frames(model: SpeechModel, total: int, batch: Batch, *, adapter: bool = True) -> list[np.ndarray]:
    """Return, for each clip of a batch, the places of its real frames among the `total` of a hidden state.

    Args:
        model: what made the hidden state.
        total: frames it has.
        batch: what it was made from.
        adapter: whether it lies behind the model's adapter, where there is one.
    """
    if model.module.config.model_type == "audio-spectrogram-transformer":
        return [_patches(model, samples) for samples in batch.samples]
    return [np.arange(min(max(count, 1), total)) for count in _counts(model, total, batch, adapter)]


def _counts(model: SpeechModel, total: int, batch: Batch, adapter: bool) -> list[int]:
    if batch.units is None:  # the extractor filled the clips up itself: Whisper's to 30 s
        longest = getattr(model.extractor, "n_samples", None)
        return [math.ceil(total * samples / longest) if longest else total for samples in batch.samples]
    real = [min(pair) for pair in zip(batch.units, batch.samples, strict=True)] if batch.waveform else batch.units
    if min(real) == max(batch.units):
        return [total] * len(batch)
    output_lengths = getattr(model.body, "_get_feat_extract_output_lengths", None)
    if output_lengths is None:
        return [math.ceil(total * units / max(batch.units)) for units in real]
    import torch

    options = (
        {} if adapter or "add_adapter" not in inspect.signature(output_lengths).parameters else {"add_adapter": False}
    )
    return [int(count) for count in output_lengths(torch.tensor(real), **options)]


def _patches(model: SpeechModel, samples: int) -> np.ndarray:
    """Return the patches of AST that begin inside the clip; before them stand its two tokens for the whole."""
    config = model.module.config
    across = (config.max_length - config.patch_size) // config.time_stride + 1
    down = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
    real = min(across, max(1, math.ceil(samples / model.rate * 100 / config.time_stride)))  # 100 frames a second
    return (2 + np.arange(down)[:, None] * across + np.arange(real)).reshape(-1)
