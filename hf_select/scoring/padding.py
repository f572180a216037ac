"""Clips of several lengths in one batch, each with the values that it would have alone.

Models normalise over time, so that the zeros which fill up a short clip can leak into its values. A probe with two
clips finds out what a model does; the group norm of Wav2Vec2 and its kin is taught to see real frames only.

    fixed     the extractor gives every clip one shape (Whisper, AST, the LeNets): nothing to fill up
    masked    clips are filled up and masked, and the probe found the values of a clip alone
    exact     neither: only clips of one length share a batch
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

__all__ = ["FrameNorms", "find_padding"]

_TOLERANCE = 1e-4  # of the largest value; what rounding does is below 1e-5, what a leak does above 1e-2


class FrameNorms:
    """The group norms of a model's convolutions over the waveform, normalised over each clip's real frames only.

    The values are those of the clip alone, by the same operator on the same numbers: in Wav2Vec2, HuBERT, WavLM and
    their kin with `feat_extract_norm="group"`, a clip of 1 s filled up to 3 s is otherwise more than half away.
    """

    def __init__(self, module: Any) -> None:
        self._layers = list(_group_norms(module))
        self._now = threading.local()  # batches are under way in several threads

    @contextmanager
    def installed(self, *, scaled_apart: bool = False) -> Iterator[None]:
        """Put hooks on the layers while the block runs.

        With `scaled_apart` they normalise first and then scale and shift, so that scale and shift may have one copy a
        clip, by which gradients of single clips are taken; the values are the same to rounding.
        """
        handles = []
        try:
            for norm, frames in self._layers:
                if scaled_apart:
                    norm.forward = partial(self._normalise, norm, frames)
                else:
                    handles.append(norm.register_forward_hook(self._hook(frames)))
            yield
        finally:
            for handle in handles:
                handle.remove()
            if scaled_apart:
                for norm, _ in self._layers:
                    vars(norm).pop("forward", None)

    @contextmanager
    def seeing(self, lengths: Sequence[int] | None) -> Iterator[None]:
        """Normalise, in this thread, over the first `lengths` samples of each clip of the batch while the block runs."""
        self._now.lengths = None if lengths is None or min(lengths) == max(lengths) else list(lengths)
        try:
            yield
        finally:
            self._now.lengths = None

    def _normalise(self, norm: Any, frames: Callable[[int], int], hidden: Any) -> Any:
        import torch

        lengths = getattr(self._now, "lengths", None)
        if lengths is None:
            normed = torch.nn.functional.group_norm(hidden, norm.num_groups, eps=norm.eps)
            return normed * norm.weight[..., None] + norm.bias[..., None]
        counts = [min(frames(length), hidden.shape[-1]) for length in lengths]
        rows = [
            torch.nn.functional.pad(
                torch.nn.functional.group_norm(hidden[row : row + 1, :, :count], norm.num_groups, eps=norm.eps),
                (0, hidden.shape[-1] - count),
            )
            for row, count in enumerate(counts)
        ]
        real = (
            torch.arange(hidden.shape[-1], device=hidden.device)
            < torch.tensor(counts, device=hidden.device)[:, None, None]
        )
        return torch.cat(rows) * norm.weight[..., None] + norm.bias[..., None] * real

    def _hook(self, frames: Callable[[int], int]) -> Any:
        import torch

        def normalise(norm: Any, inputs: tuple[Any, ...], output: Any) -> Any:
            lengths = getattr(self._now, "lengths", None)
            if lengths is None:
                return None
            (hidden,) = inputs
            fixed = torch.zeros_like(output)
            for row, length in enumerate(lengths):
                count = min(frames(length), hidden.shape[-1])
                if count > 0:
                    fixed[row, :, :count] = torch.nn.functional.group_norm(
                        hidden[row : row + 1, :, :count], norm.num_groups, norm.weight, norm.bias, norm.eps
                    )[0]
            return fixed

        return normalise


def _group_norms(module: Any) -> Iterator[tuple[Any, Callable[[int], int]]]:
    """Yield (group norm, function from samples to its frames) of each stack of convolutions over the waveform."""
    import torch

    for parent in module.modules():
        steps: list[tuple[int, int]] = []
        for layer in getattr(parent, "conv_layers", None) or ():
            conv, norm = getattr(layer, "conv", None), getattr(layer, "layer_norm", None)
            if not isinstance(conv, torch.nn.Conv1d):
                break
            steps.append((conv.kernel_size[0], conv.stride[0]))
            if isinstance(norm, torch.nn.GroupNorm):
                yield norm, _frames(list(steps))


def _frames(steps: list[tuple[int, int]]) -> Callable[[int], int]:
    def count(samples: int) -> int:
        for kernel, stride in steps:
            samples = (samples - kernel) // stride + 1
        return samples

    return count


def find_padding(
    values: Callable[[list[np.ndarray]], np.ndarray], shapes: Callable[[np.ndarray], Any], rate: int
) -> str:
    """Find out by two clips how a model takes clips of several lengths: "fixed", "masked" or "exact".

    Args:
        values: from clips that share a batch to one vector each.
        shapes: from a clip to the shape of its features.
        rate: samples a second.
    """
    noise = np.random.default_rng(0).normal(0, 0.1, rate).astype(np.float32)
    long, short = noise, noise[: int(0.4 * rate)] * 2 + 0.05
    if shapes(long) == shapes(short):
        return "fixed"
    alone = np.concatenate([values([long]), values([short])])
    together = values([long, short])
    apart = np.abs(alone - together).max() / max(float(np.abs(alone).max()), 1e-9)
    return "masked" if apart < _TOLERANCE else "exact"
