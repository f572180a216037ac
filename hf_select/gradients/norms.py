"""Gradient norms of the samples of a batch, each over all trainable parameters, in one forward and one backward pass."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hf_select.errors import ArgumentError
from hf_select.gradients.layers import parameters_of, rule_of
from hf_select.gradients.listening import ChangedError, Listeners, lifted, noted
from hf_select.gradients.rewrites import rewritten

__all__ = ["GradNorms", "per_sample_grad_norms"]

log = logging.getLogger("hf_select")

Loss = Callable[[Any], Tensor]

_AGREE = 1e-2  # of a parameter's own norm: a use that a rule does not see changes it by more
_NOTHING = (
    1e-4  # of the norm of all parameters: what is smaller may be rounding (in theory the bias of keys has no gradient)
)


def per_sample_grad_norms(model: nn.Module, batch: Mapping[str, Any], loss: Loss) -> Tensor:
    """Return the norm of each sample's gradient over all trainable parameters: what a loop of single backward passes gives.

    It takes one forward and one backward pass of the batch. In linear layers, convolutions (1-D and 2-D, in groups, weight
    normed), layer, group and batch norm, embeddings, and parameters that are added to all samples (positions, class
    tokens), each sample's gradient is measured where the backward pass would have summed it over the batch. At the first
    batch of a model two samples are compared, parameter by parameter, with their gradients by autograd. Parameters that
    do not agree or have no rule are taken sample by sample from then on, which is exact and slower, and said once.

    Args:
        model: in evaluation mode (dropout would draw another model for each sample), in float32 or float64. Frozen
            parameters do not count.
        batch: what the model is called with; tensors with the samples first. Masks and lengths are the model's affair.
        loss: gets what the model returns, and returns one loss a sample, float (samples,), which depends on that sample
            alone: `lambda out: cross_entropy(out.logits, labels, reduction="none")`.

    Returns:
        float64 (samples,), on the CPU. The model, its gradients and its flags are left as they were.

    Raises:
        ArgumentError: the model is training, in half precision, or has nothing to train; the losses are not one a sample.

    Reference:
        Wang et al., "MelTrim", equation 14, where segments go through one by one. For a linear layer over T frames the norm
        of the sum over frames is had from T x T products where that is less work.

    Relations:
        `hf_select.score(..., columns="grad_norm")` does it for a dataset; its "grad_norm_head" is that of the last layer
        alone.

    Example:
        >>> from torch.nn.functional import cross_entropy
        >>> model, x, labels = nn.Linear(2, 2).eval(), torch.eye(2), torch.tensor([0, 1])
        >>> norms = per_sample_grad_norms(model, {"input": x}, lambda out: cross_entropy(out, labels, reduction="none"))
        >>> cross_entropy(model(x[:1]), labels[:1]).backward()
        >>> alone = sum(p.grad.double().square().sum() for p in model.parameters()).sqrt()
        >>> bool((norms[0] - alone).abs() < 1e-6)
        True
    """
    if model not in _KNOWN:
        _KNOWN[model] = GradNorms(model)
    return _KNOWN[model](batch, loss)


class GradNorms:
    """Gradient norms of one model; remembers how each of its parameters is measured. Not for several threads."""

    def __init__(self, model: nn.Module) -> None:
        self._model = weakref.ref(model)
        self._ways: _Ways | None = None

    def __call__(self, batch: Mapping[str, Any], loss: Loss) -> Tensor:
        """Return the norms of one batch; see `per_sample_grad_norms`."""
        model = self._model()
        if model is None:
            raise ArgumentError("The model is gone: keep it as long as its GradNorms.")
        given = _Given(model, batch, loss)
        with torch.enable_grad(), rewritten(model), given.own_gradients():
            if given.samples == 1:
                return given.total(given.one_by_one(given.losses(), given.parameters))
            if self._ways is not None and self._ways.parameters == given.parameters.keys():
                with suppress(ChangedError):  # another way through the model than at the first batch: compared anew
                    return given.total(_measure(given, self._ways))
            self._ways, squares = _compare(given)
            return given.total(squares)


_KNOWN: weakref.WeakKeyDictionary[nn.Module, GradNorms] = weakref.WeakKeyDictionary()


@dataclass
class _Ways:
    """How parameters are measured.

    Attributes:
        parameters: names of all of them.
        layers: names of layers that have a rule and are called with the samples first.
        lifted: of these, embeddings that the model looks up once for all samples.
        written: of these, layers whose output the model writes to.
        spread: parameters that do as well with one copy a sample.
        single: parameters that are taken sample by sample. All others are not in use.
    """

    parameters: set[str]
    layers: set[str]
    lifted: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    spread: set[str] = field(default_factory=set)
    single: set[str] = field(default_factory=set)


class _Given:
    """A model, a batch and a loss, and what can be asked of them."""

    def __init__(self, model: nn.Module, batch: Mapping[str, Any], loss: Loss) -> None:
        self.model, self.batch, self.loss = model, batch, loss
        self.parameters = _trainable(model)
        tensors = [value for value in batch.values() if torch.is_tensor(value) and value.ndim]
        if not tensors:
            raise ArgumentError(
                "batch holds what the model is called with, tensors with the samples first; it has none."
            )
        self.samples = len(tensors[0])

    def losses(self, copies: Mapping[str, Tensor] | None = None) -> Tensor:
        """Run the model, some parameters replaced by a copy for each sample; return one loss a sample."""
        out = functional_call(self.model, dict(copies), (), dict(self.batch)) if copies else self.model(**self.batch)
        losses = self.loss(out)
        if not torch.is_tensor(losses) or losses.shape != (self.samples,):
            seen = tuple(losses.shape) if torch.is_tensor(losses) else type(losses).__name__
            raise ArgumentError(
                f"loss returns one number a sample, of shape ({self.samples},); it returned {seen}. Pass reduction='none'."
            )
        return losses

    def one_by_one(self, losses: Tensor, names: Iterable[str], rows: Sequence[int] | None = None) -> dict[str, Tensor]:
        """Return the squared norms (rows,) of parameters by one backward pass for each row."""
        names, rows = list(names), range(self.samples) if rows is None else rows
        if not names or not losses.requires_grad:
            return {}
        wanted = [self.parameters[name] for name in names]
        found = torch.zeros(len(names), len(rows), dtype=losses.dtype, device=losses.device)
        used = set()
        for place, row in enumerate(rows):
            grads = torch.autograd.grad(losses[row], wanted, retain_graph=True, allow_unused=True)
            for number, grad in enumerate(grads):
                if grad is not None:
                    used.add(names[number])
                    found[number, place] = grad.square().sum()
        return {name: squares for name, squares in zip(names, found, strict=True) if name in used}

    def total(self, squares: Mapping[str, Tensor]) -> Tensor:
        """Return the norms over all parameters."""
        if not squares:
            return torch.zeros(self.samples, dtype=torch.float64)
        return torch.stack(list(squares.values())).cpu().double().sum(dim=0).sqrt()

    def own(self, layer: str) -> list[str]:
        """Return the names of the parameters of a layer that are trained."""
        names = [f"{layer}.{name}" if layer else name for name in parameters_of(self.model.get_submodule(layer))]
        return [name for name in names if name in self.parameters]

    @contextmanager
    def own_gradients(self) -> Iterator[None]:
        """Put the gradients that parameters have aside while the block runs."""
        kept = {name: parameter.grad for name, parameter in self.parameters.items()}
        try:
            for parameter in self.parameters.values():
                parameter.grad = None
            yield
        finally:
            for name, parameter in self.parameters.items():
                parameter.grad = kept[name]

    @contextmanager
    def still(self, names: Iterable[str]) -> Iterator[None]:
        """Let autograd pass these parameters by while the block runs."""
        parameters = [self.parameters[name] for name in names]
        try:
            for parameter in parameters:
                parameter.requires_grad_(False)
            yield
        finally:
            for parameter in parameters:
                parameter.requires_grad_(True)


def _measure(given: _Given, ways: _Ways) -> dict[str, Tensor]:
    """Return the squared norms (samples,) of each parameter that is in use."""
    layers = {name: given.model.get_submodule(name) for name in ways.layers}
    listeners = Listeners(layers, ways.lifted, ways.written, given.samples)
    copies = {name: _copies(given.parameters[name], given.samples).requires_grad_() for name in ways.spread}
    heard = {name for layer in ways.layers for name in given.own(layer)} | ways.spread
    with listeners.at_work(), given.still(heard):
        losses = given.losses(copies)
        listeners.check_calls()
        if losses.requires_grad:
            losses.sum().backward(retain_graph=bool(ways.single))
        squares = {name: square for name, square in listeners.finish().items() if name in heard}
        squares |= {
            name: copy.grad.flatten(1).square().sum(dim=1) for name, copy in copies.items() if copy.grad is not None
        }
        for name, parameter in given.parameters.items():
            if name not in heard | ways.single and parameter.grad is not None and parameter.grad.any():
                raise ChangedError
        listeners.resting = True
        return squares | given.one_by_one(losses, ways.single)


def _compare(given: _Given) -> tuple[_Ways, dict[str, Tensor]]:
    """Find out how each parameter is measured, by comparison with autograd; return that, and the squared norms."""
    rows = [0, given.samples - 1]
    layers = {name: module for name, module in given.model.named_modules() if given.own(name) and rule_of(module)}
    with noted(layers, given.samples) as notes:
        losses = given.losses()
    ways = _Ways(set(given.parameters), {name for name, note in notes.items() if note.by_sample})
    ways.written = {name for name, note in notes.items() if note.written}
    once = [name for name, note in notes.items() if not note.by_sample and isinstance(layers[name], nn.Embedding)]
    notes.clear()
    truth = given.one_by_one(losses, given.parameters, rows)
    right = losses.detach()
    del losses
    if not truth:  # what is trained has no part in the losses
        return _Ways(set(given.parameters), set()), {}
    for name in once:
        with lifted(layers[name], given.samples):
            if _agrees(given, right):
                ways.layers.add(name)
                ways.lifted.add(name)
    heard = {name for layer in ways.layers for name in given.own(layer)}
    for name in [name for name in truth if name not in heard]:
        copies = {name: _copies(given.parameters[name], given.samples)}
        (ways.spread if _agrees(given, right, copies) else ways.single).add(name)
    squares = _measure(given, ways)
    wrong = _wrong(squares, truth, rows)
    if wrong:
        lost = {layer for layer in ways.layers if wrong & set(given.own(layer))}
        ways = replace(ways, layers=ways.layers - lost, lifted=ways.lifted - lost, spread=ways.spread - wrong)
        ways.single |= wrong | {name for layer in lost for name in given.own(layer) if name in truth}
        squares = _measure(given, ways)
    if ways.single:
        log.warning(
            "%d of %d parameters are in no layer that is measured for a whole batch (such as %s): their gradients are taken "
            "sample by sample, which is exact, and slower.",
            len(ways.single), len(given.parameters), sorted(ways.single)[0],
        )  # fmt: skip
    return ways, squares


def _agrees(given: _Given, losses: Tensor, copies: Mapping[str, Tensor] | None = None) -> bool:
    """Return whether the model, as it is changed now, runs and has the same losses."""
    try:
        with torch.no_grad():
            return torch.allclose(given.losses(copies), losses, rtol=1e-3, atol=1e-4)
    except (RuntimeError, ValueError, IndexError, TypeError, ArgumentError):  # the model takes no such shape
        return False


def _wrong(squares: Mapping[str, Tensor], truth: Mapping[str, Tensor], rows: Sequence[int]) -> set[str]:
    """Return the parameters whose norms are not those of autograd."""
    nothing = _NOTHING * torch.stack(list(truth.values())).sum(dim=0).sqrt()
    zero = torch.zeros_like(nothing)
    found = {name: squares[name][rows].sqrt() if name in squares else zero for name in truth}
    return {
        name
        for name, square in truth.items()
        if not ((found[name] - square.sqrt()).abs() <= _AGREE * square.sqrt() + nothing).all()
    }


def _copies(parameter: Tensor, samples: int) -> Tensor:
    """Return a parameter with a copy for each sample, in the place of a first dimension of 1 or before all."""
    one = parameter.detach() if parameter.ndim and parameter.shape[0] == 1 else parameter.detach()[None]
    return one.expand(samples, *one.shape[1:])


def _trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    found = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not found:
        raise ArgumentError(
            "No parameter of the model is trainable: its gradient has no norm. Unfreeze some (requires_grad_)."
        )
    if model.training:
        raise ArgumentError("The model is training: dropout would draw another one for each sample. Call model.eval().")
    half = sorted({str(p.dtype) for p in found.values() if p.dtype not in (torch.float32, torch.float64)})
    if half:
        raise ArgumentError(
            f"Gradient norms need float32 or float64 parameters (small gradients vanish in less); some are {', '.join(half)}. "
            "Call model.float()."
        )
    return found
