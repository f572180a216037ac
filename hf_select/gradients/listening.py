"""Layers that tell, in one forward and backward pass, what they add to each sample's gradient norm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hf_select.gradients.layers import rule_of

__all__ = ["ChangedError", "Listeners", "lifted", "noted"]


class ChangedError(Exception):
    """A pass uses layers otherwise than those before it."""


class Listeners:
    """Listen to layers of a model.

    Args:
        layers: name -> layer that has a rule.
        lifted: names of embeddings that are looked up once for the batch; they are made to do it for each sample.
        written: names of layers whose output the model writes to; it gets a copy.
        samples: how many the batch has.
    """

    def __init__(self, layers: Mapping[str, nn.Module], lifted: set[str], written: set[str], samples: int) -> None:
        self.layers, self.lifted, self.written, self.samples = layers, lifted, written, samples
        self.resting = False  # whether backward passes go by unheard
        self._waiting: dict[str, list[list[Any]]] = {}  # name -> [input, its version, gradient] of each call
        self._outputs: list[tuple[Tensor, int]] = []
        self._squares: dict[str, Tensor] = {}

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Hear all calls while the block runs."""
        with ExitStack() as hooks:
            for name, layer in self.layers.items():
                if name in self.lifted:
                    hooks.enter_context(lifted(layer, self.samples))
                hooks.callback(layer.register_forward_hook(partial(self._called, name)).remove)
            yield

    def finish(self) -> dict[str, Tensor]:
        """Return the squared norms that were heard: name of the parameter -> (samples,)."""
        for name in list(self._waiting):  # of layers some of whose calls had no part in the losses
            self._measure(name)
        return self._squares

    def check_calls(self) -> None:
        """Raise a ChangedError unless every layer was called, and no output was written to that was not copied."""
        if set(self._waiting) != set(self.layers) or any(
            output._version != version for output, version in self._outputs
        ):
            raise ChangedError
        self._outputs.clear()

    def _called(self, name: str, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
        x = inputs[0].detach() if inputs else None
        if x is None or len(x) != self.samples or len(output) != self.samples:
            raise ChangedError
        first = not output.requires_grad  # nothing before it is trained: no gradient of its input is needed either
        heard = output.requires_grad_() if first else output
        call = [x, x._version, None]
        self._waiting.setdefault(name, []).append(call)
        heard.register_hook(partial(self._answered, name, call))
        if first or name in self.written:  # nor may a leaf be written to
            return heard.clone()
        self._outputs.append((output, output._version))
        return None

    def _answered(self, name: str, call: list[Any], gradient: Tensor) -> None:
        if self.resting:
            return
        call[2] = gradient
        if all(other[2] is not None for other in self._waiting[name]):
            self._measure(name)

    def _measure(self, name: str) -> None:
        layer, calls = self.layers[name], self._waiting.pop(name)
        rule = rule_of(layer)
        if rule is None or any(x._version != version for x, version, _ in calls):  # written to since
            raise ChangedError
        pairs = [(x, gradient) for x, _, gradient in calls if gradient is not None]
        with torch.no_grad():
            found = rule(layer, pairs) if pairs else {}
        self._squares |= {f"{name}.{own}" if name else own: square for own, square in found.items()}


@contextmanager
def lifted(layer: nn.Module, samples: int) -> Iterator[None]:
    """Let an embedding that is looked up once for all samples be looked up for each of them."""
    hook = layer.register_forward_pre_hook(lambda _, inputs: (inputs[0].expand(samples, *inputs[0].shape),))
    try:
        yield
    finally:
        hook.remove()


@dataclass
class Note:
    """How a layer was called: with the samples first each time, and whether an output of it was written to later."""

    by_sample: bool = True
    outputs: list[tuple[Tensor, int]] = field(default_factory=list)

    @property
    def written(self) -> bool:
        return any(output._version != version for output, version in self.outputs)


@contextmanager
def noted(layers: Mapping[str, nn.Module], samples: int) -> Iterator[dict[str, Note]]:
    """Note how layers are called while the block runs."""
    notes: dict[str, Note] = {}

    def note(name: str, _layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        own = notes.setdefault(name, Note())
        own.by_sample &= bool(inputs) and len(inputs[0]) == len(output) == samples
        own.outputs.append((output, output._version))

    with ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.callback(layer.register_forward_hook(partial(note, name)).remove)
        yield notes
