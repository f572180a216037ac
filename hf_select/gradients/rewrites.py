"""Layers of transformers that use their parameters past the modules that own them, written so that they do not.

WavLM's attention hands the weights of its projections to one fused function, and looks its relative positions up once for
the whole batch; the layers of x-vectors use the weight of a linear layer as that of a convolution. While a block runs they
call their own layers on each sample's frames: the same numbers to rounding, and each parameter belongs to a layer that can
be listened to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["rewritten"]


@contextmanager
def rewritten(model: nn.Module) -> Iterator[None]:
    """Let these layers work through their own modules while the block runs."""
    found = [(module, way) for module in model.modules() if (way := _way(type(module))) is not None]
    for module, way in found:
        module.forward = MethodType(way, module)
    try:
        yield
    finally:
        for module, _ in found:
            del module.forward


def _way(kind: type) -> Callable[..., Any] | None:
    if not kind.__module__.startswith("transformers.models."):
        return None
    ways: dict[str, Callable[..., Any]] = {"WavLMAttention": _wavlm_attention, "TDNNLayer": _tdnn}
    return ways.get(kind.__name__)


def _wavlm_attention(
    self: Any,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    position_bias: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None, Tensor]:
    samples, steps = hidden_states.shape[:2]
    if position_bias is None:  # in the first layer
        place = torch.arange(steps, device=hidden_states.device)
        buckets = self._relative_positions_bucket(place[None, :] - place[:, None])
        position_bias = self.rel_attn_embed(buckets.expand(samples, -1, -1)).permute(0, 3, 1, 2)

    def by_head(x: Tensor) -> Tensor:
        return x.unflatten(2, (self.num_heads, self.head_dim)).transpose(1, 2)

    gates = self.gru_rel_pos_linear(by_head(hidden_states)).unflatten(3, (2, 4)).sum(dim=4).sigmoid()
    gate = gates[..., :1] * (gates[..., 1:] * self.gru_rel_pos_const - 1) + 2
    query, key, value = (by_head(layer(hidden_states)) for layer in (self.q_proj, self.k_proj, self.v_proj))
    scores = (query * self.scaling) @ key.transpose(2, 3) + gate * position_bias
    if attention_mask is not None:
        scores = scores.masked_fill(attention_mask.ne(1)[:, None, None, :], -torch.inf)
    heard = (scores.softmax(dim=3) @ value).transpose(1, 2).flatten(2)
    return self.out_proj(heard), None, position_bias


def _tdnn(self: Any, hidden_states: Tensor) -> Tensor:
    steps = hidden_states.shape[1] - (self.kernel_size - 1) * self.dilation
    taps = [hidden_states[:, tap * self.dilation : tap * self.dilation + steps] for tap in range(self.kernel_size)]
    found: Tensor = self.activation(self.kernel(torch.cat(taps, dim=2)))
    return found
