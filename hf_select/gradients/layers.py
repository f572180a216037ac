"""What each kind of layer adds to the gradient norm of a sample: from what went in, and the gradient of what came out.

A rule gets a layer and its calls in one forward pass, mostly one: pairs (input, gradient of the output), samples first in
both. It returns for each parameter of the layer the squared norm of every sample's gradient, float (samples,). The sum over
time that a batched backward does with the sum over samples is done for each sample alone, with no more arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["Call", "Rule", "parameters_of", "rule_of"]

Call = tuple[Tensor, Tensor]
Rule = Callable[[Any, Sequence[Call]], dict[str, Tensor]]

_BLOCK = 1 << 24  # numbers that are made at a time, so that memory does not grow with the batch


def rule_of(module: nn.Module) -> Rule | None:
    """Return the rule for a layer; None where there is none that is exact, or another forward was put in its place."""
    if "forward" in vars(module):
        return None
    kind = next((kind for kind in _RULES if isinstance(module, kind)), None)
    if kind is None or not set(parameters_of(module)) <= {"weight", "bias", *(_normed(module) or ())}:
        return None
    plain = type(module) is kind or (kind in type(module).__bases__ and type(module).forward is kind.forward)
    if not plain or (_parametrized(module) and _normed(module) is None):
        return None
    if isinstance(module, nn.Embedding) and (module.max_norm is not None or module.scale_grad_by_freq or module.sparse):
        return None
    if isinstance(module, _BatchNorm) and module.running_mean is None:
        return None  # the samples of a batch depend on each other
    return _RULES[kind]


def parameters_of(module: nn.Module) -> list[str]:
    """Return the names of the parameters that are a layer's own, those behind a normed weight among them."""
    return [name for name, _ in module.named_parameters() if "." not in name or name.startswith("parametrizations.")]


# -- products of frames: linear layers and convolutions


def _linear(layer: nn.Linear, calls: Sequence[Call]) -> dict[str, Tensor]:
    frames = [(_frames(x), _frames(g)) for x, g in calls]
    steps, m, n = sum(x.shape[2] for x, _ in frames), layer.in_features, layer.out_features
    return _in_blocks(lambda *block: _of_frames(layer, *_joined(block)), frames, min(2 * steps * steps, m * n))


def _convolution(layer: Any, calls: Sequence[Call]) -> dict[str, Tensor]:
    numbers = sum(math.prod(g.shape[2:]) for _, g in calls) * layer.in_channels * math.prod(layer.kernel_size)

    def of(*block: Call) -> dict[str, Tensor]:
        pairs = [(_patches(layer, x, g.shape[2:]), _by_group(g, layer.groups)) for x, g in block]
        return _of_frames(layer, *_joined(pairs))

    return _in_blocks(of, calls, max(numbers, layer.weight.numel()))


def _of_frames(layer: Any, x: Tensor, g: Tensor) -> dict[str, Tensor]:
    """Return the norms of sum_t g[:, :, t] x[:, :, t]^T and of sum_t g; x (samples, groups, T, m), g (.., T, n)."""
    found = {} if layer.bias is None else {"bias": _squares(g.sum(dim=2))}
    normed = _normed(layer)
    if normed is not None:
        return found | _of_weight_norm(layer, normed, torch.matmul(g.transpose(2, 3), x))
    steps, m, n = x.shape[2], x.shape[3], g.shape[3]
    if steps == 1:
        square = x.square().sum(dim=3) * g.square().sum(dim=3)
        return found | {"weight": square.sum(dim=(1, 2))}
    if steps * (m + n) < m * n:  # |G|^2 = sum over t, s of (x_t x_s) (g_t g_s): no gradient is made
        products = torch.matmul(x, x.transpose(2, 3)) * torch.matmul(g, g.transpose(2, 3))
        return found | {"weight": products.sum(dim=(1, 2, 3)).clamp_min(0)}
    return found | {"weight": _squares(torch.matmul(g.transpose(2, 3), x))}


def _of_weight_norm(layer: Any, names: tuple[str, str], gradient: Tensor) -> dict[str, Tensor]:
    """Take the gradient of w to those of length and direction, where w = length x direction / |direction|."""
    length, direction = (layer.get_parameter(name).detach() for name in names)
    gradient = gradient.reshape(-1, *direction.shape)
    axes = [1 + axis for axis in range(direction.ndim) if length.ndim == 0 or length.shape[axis] == 1]
    own = [axis - 1 for axis in axes]
    size = direction.square().sum(dim=own, keepdim=True).sqrt()
    along = (gradient * direction).sum(dim=axes, keepdim=True) / size
    across = (gradient.square().sum(dim=axes, keepdim=True) - along.square()).clamp_min(0)
    return {names[0]: _squares(along), names[1]: (across * (length.reshape_as(size) / size).square()).flatten(1).sum(1)}


def _frames(x: Tensor) -> Tensor:
    """Return (samples, 1, T, width) of (samples, ..., width)."""
    return x.reshape(len(x), 1, -1, x.shape[-1])


def _by_group(g: Tensor, groups: int) -> Tensor:
    """Return (samples, groups, T, channels of a group) of (samples, channels, ...)."""
    return g.reshape(len(g), groups, g.shape[1] // groups, -1).transpose(2, 3)


def _patches(layer: Any, x: Tensor, places: Sequence[int]) -> Tensor:
    """Return what the kernel sees at each place: (samples, groups, T, channels of a group x kernel)."""
    if layer.padding_mode != "zeros":
        x = F.pad(x, layer._reversed_padding_repeated_twice, mode=layer.padding_mode)
    elif layer.padding == "same":
        x = F.pad(x, layer._reversed_padding_repeated_twice)
    elif layer.padding != "valid":
        x = F.pad(x, [side for width in reversed(layer.padding) for side in (width, width)])
    x = x.contiguous()
    samples, channels, groups = len(x), x.shape[1], layer.groups
    inside = [stride * step for stride, step in zip(x.stride()[2:], layer.dilation, strict=True)]
    between = [stride * step for stride, step in zip(x.stride()[2:], layer.stride, strict=True)]
    seen = x.as_strided(
        (samples, channels, *layer.kernel_size, *places), (*x.stride()[:2], *inside, *between), x.storage_offset()
    )
    return seen.reshape(samples, groups, channels // groups * math.prod(layer.kernel_size), -1).transpose(2, 3)


# -- one number a channel: normalisation


def _layer_norm(layer: nn.LayerNorm, calls: Sequence[Call]) -> dict[str, Tensor]:
    shape = (calls[0][0].shape[0], -1, math.prod(layer.normalized_shape))
    normed = [(F.layer_norm(x, layer.normalized_shape, eps=layer.eps), g) for x, g in calls]
    return _of_scale(layer, [(x.reshape(shape), g.reshape(shape)) for x, g in normed], 1)


def _group_norm(layer: nn.GroupNorm, calls: Sequence[Call]) -> dict[str, Tensor]:
    return _of_scale(
        layer, [(F.group_norm(x, layer.num_groups, eps=layer.eps).flatten(2), g.flatten(2)) for x, g in calls], 2
    )


def _batch_norm(layer: Any, calls: Sequence[Call]) -> dict[str, Tensor]:
    stats = layer.running_mean, layer.running_var
    normed = [(F.batch_norm(x, *stats, training=False, eps=layer.eps), g) for x, g in calls]
    return _of_scale(layer, [(x[:, :, None].flatten(2), g[:, :, None].flatten(2)) for x, g in normed], 2)


def _of_scale(layer: Any, calls: Sequence[Call], over: int) -> dict[str, Tensor]:
    """Return the norms for scale and shift of normed values, (samples, T, channels) or with `over`=2 (.., channels, T)."""
    found = {"weight": _squares(torch.stack([(x * g).sum(dim=over) for x, g in calls]).sum(dim=0))}
    return (
        found
        if layer.bias is None
        else found | {"bias": _squares(torch.stack([g.sum(dim=over) for _, g in calls]).sum(dim=0))}
    )


# -- looked up: embeddings


def _embedding(layer: nn.Embedding, calls: Sequence[Call]) -> dict[str, Tensor]:
    index = torch.cat([x.reshape(len(x), -1) for x, _ in calls], dim=1)
    g = torch.cat([g.reshape(len(g), -1, g.shape[-1]) for _, g in calls], dim=1)
    if layer.padding_idx is not None:
        g = g.masked_fill((index == layer.padding_idx)[:, :, None], 0)
    samples, width = g.shape[0], g.shape[2]
    cells = torch.arange(samples, device=index.device)[:, None] * layer.num_embeddings + index
    met, place = torch.unique(cells, return_inverse=True)
    sums = g.new_zeros(len(met), width).index_add_(0, place.flatten(), g.reshape(-1, width))
    found = g.new_zeros(samples).index_add_(0, met // layer.num_embeddings, sums.square().sum(dim=1))
    return {"weight": found}


_RULES: dict[Any, Rule] = {
    nn.Linear: _linear,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.Embedding: _embedding,
}


# -- small things


def _parametrized(module: nn.Module) -> bool:
    return bool(getattr(module, "parametrizations", None)) or hasattr(module, "weight_v")


def _normed(module: nn.Module) -> tuple[str, str] | None:
    """Return the names of the (length, direction) of a weight that is normed, None for any other."""
    if hasattr(module, "weight_g") and hasattr(module, "weight_v"):  # torch.nn.utils.weight_norm, the older one
        return "weight_g", "weight_v"
    kinds = getattr(module, "parametrizations", {})
    if list(kinds) == ["weight"] and [type(part).__name__ for part in kinds["weight"]] == ["_WeightNorm"]:
        return "parametrizations.weight.original0", "parametrizations.weight.original1"
    return None


def _joined(pairs: Sequence[Call]) -> Call:
    if len(pairs) == 1:
        return pairs[0]
    return torch.cat([x for x, _ in pairs], dim=2), torch.cat([g for _, g in pairs], dim=2)


def _in_blocks(of: Callable[..., dict[str, Tensor]], calls: Sequence[Call], numbers: int) -> dict[str, Tensor]:
    """Call a rule for so few samples at a time that what they make together, `numbers` each, stays small."""
    samples = len(calls[0][0])
    size = max(1, _BLOCK // max(1, numbers))
    found = [of(*[(x[a : a + size], g[a : a + size]) for x, g in calls]) for a in range(0, samples, size)]
    return {name: torch.cat([part[name] for part in found]) for name in found[0]}


def _squares(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x.flatten(1), dim=1).square()
