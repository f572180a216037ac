"""From a batch to its scores: one forward pass, then the columns that were asked for."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from hf_select.errors import ArgumentError
from hf_select.scoring.columns import classifier_columns
from hf_select.scoring.frames import real_frames
from hf_select.scoring.inputs import Batch
from hf_select.scoring.model import SpeechModel
from hf_select.scoring.padding import FrameNorms
from hf_select.scoring.transcripts import Transcriber

__all__ = ["Scorer"]


class Scorer:
    """Run a model over batches and turn what it says into columns.

    Args:
        model: the model, in evaluation mode.
        columns: what to make.
        layer: hidden state the embedding is taken from, 0 (before the first layer) to the last, or counted from the end;
            None is what the encoder hands on.
        pool: "mean" over real frames, or "none".
        transcriber: for CTC and sequence-to-sequence models.
        whole: with pool="none" keep all frames, those of the silence that fills a grid too.
    """

    def __init__(
        self,
        model: SpeechModel,
        columns: Sequence[str],
        layer: int | None = None,
        pool: str = "mean",
        transcriber: Transcriber | None = None,
        whole: bool = False,
    ) -> None:
        self.model, self.columns, self.layer, self.pool = model, columns, layer, pool
        self.transcriber, self.whole, self.norms = transcriber, whole, FrameNorms(model.module)
        self._now = threading.local()  # batches are under way in several threads, but for gradients in one
        self.gradients = "grad_norm" in columns
        self._head = _last_linear(model.module) if "grad_norm_head" in columns else None
        self._norms: Any = None
        self._all_states = layer is not None or (model.kind == "classifier" and model.body is model.module)

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Put hooks into the model while the block runs; only there anything can be scored."""

        def keep(_module: Any, _inputs: Any, output: Any) -> None:
            self._now.output = output

        def keep_input(_module: Any, inputs: tuple[Any, ...], _output: Any) -> None:
            self._now.before_head = inputs[0].detach()

        handles = [self.model.body.register_forward_hook(keep)]
        if self._head is not None:
            handles.append(self._head.register_forward_hook(keep_input))
        if self.gradients:
            from hf_select.gradients import GradNorms

            self._norms = GradNorms(self.model.module)
        try:
            with (
                self.norms.installed(scaled_apart=self.gradients),
                warnings.catch_warnings(),
            ):  # torch dislikes WavLM's masks, which are right
                warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")
                yield
        finally:
            for handle in handles:
                handle.remove()

    def score(
        self, batch: Batch, labels: Sequence[int | None] | None, texts: Sequence[str | None] | None
    ) -> dict[str, list[Any]]:
        """Return the columns of one batch."""
        rest = [name for name in self.columns if name != "embedding"]
        with self.norms.seeing(batch.units):
            if self.model.kind == "seq2seq":
                found = self.transcriber.of_seq2seq(batch, texts) if self.transcriber and rest else {}
                hidden = self._run(batch, logits=False)[0] if "embedding" in self.columns else None
            else:
                norms = logits = hidden = None
                if self.gradients:
                    norms, logits = self._gradient_norms(batch, labels, texts)
                if not self.gradients or "embedding" in self.columns:
                    hidden, seen = self._run(batch, logits=bool(rest) and logits is None)
                    logits = seen if logits is None else logits
                found = self._of_logits(logits, batch, labels, texts) if rest else {}
                if norms is not None:
                    known = found["loss"]  # None without a label, or for a text that can't be said in its time
                    found["grad_norm"] = [None if own is None else n for own, n in zip(known, norms, strict=True)]
        if "embedding" in self.columns:
            found["embedding"] = self._embeddings(hidden, batch)
        return {name: found[name] for name in self.columns}

    def vectors(self, batch: Batch) -> np.ndarray:
        """Return one vector a clip, by which a probe compares clips alone and in company."""
        with self.norms.seeing(batch.units):
            hidden, _ = self._run(batch, logits=False)
        return np.stack(
            [vector.reshape(-1, vector.shape[-1]).mean(axis=0) for vector in self._embeddings(hidden, batch)]
        )

    def _run(self, batch: Batch, *, logits: bool) -> tuple[Any, Any]:
        """Return (hidden states, logits) of one forward pass, logits only where they are needed."""
        import torch

        states = {"output_hidden_states": True} if self._all_states else {}
        with torch.no_grad():
            found = (self.model.module if logits else self.model.body)(**batch.tensors, **states)
        kept, self._now.output = self._now.output, None
        hidden = self._hidden(kept) if "embedding" in self.columns or not logits else None
        return hidden, found.logits if logits else None

    def _gradient_norms(self, batch: Batch, labels: Any, texts: Any) -> tuple[list[float], Any]:
        """Return (gradient norms, logits) of one forward and one backward pass."""
        import torch

        seen: dict[str, Any] = {}

        def loss(output: Any) -> Any:
            seen["logits"] = output.logits.detach()
            if self.transcriber is None:
                numbers = torch.tensor([label or 0 for label in labels], device=output.logits.device)
                return torch.nn.functional.cross_entropy(output.logits, numbers, reduction="none")
            frames = [len(own) for own in real_frames(self.model, output.logits.shape[1], batch)]
            return self.transcriber.ctc_losses(
                output.logits, frames, self.transcriber.targets(texts), zero_infinity=True
            )

        return self._norms(batch.tensors, loss).tolist(), seen["logits"]

    def _of_logits(self, logits: Any, batch: Batch, labels: Any, texts: Any) -> dict[str, list[Any]]:
        if self.transcriber is None:
            found = classifier_columns(logits.float().cpu().numpy(), labels)
            if self._head is not None:  # |(p - y) (h, 1)^T| = |p - y| |(h, 1)|
                hidden = self._now.before_head.double()
                sizes = (hidden.square().sum(dim=-1) + (self._head.bias is not None)).sqrt().cpu().tolist()
                pairs = zip(found["el2n"], sizes, strict=True)
                found["grad_norm_head"] = [None if el2n is None else el2n * size for el2n, size in pairs]
            return found
        frames = [len(own) for own in real_frames(self.model, logits.shape[1], batch)]
        return self.transcriber.of_ctc(logits, frames, texts)

    def _hidden(self, output: Any) -> Any:
        if self.layer is None:
            state = getattr(output, "last_hidden_state", None)
            return output.hidden_states[-1] if state is None else state
        states = output.hidden_states
        if not -len(states) <= self.layer < len(states):
            raise ArgumentError(
                f"layer={self.layer}: {self.model.name} has hidden states 0 to {len(states) - 1} (or -{len(states)} to -1)."
            )
        return states[self.layer]

    def _embeddings(self, hidden: Any, batch: Batch) -> list[np.ndarray]:
        """Return one vector, or with pool="none" one matrix (frames x dimensions), a clip."""
        if hidden.ndim != 3:  # a vector a clip already, or the maps of a convolution
            vectors = list(hidden.float().flatten(1).cpu().numpy())
            return [vector[None] for vector in vectors] if self.pool == "none" else vectors
        places = real_frames(self.model, hidden.shape[1], batch, adapter=self.layer is None)
        if self.pool == "none" and self.whole:
            return list(hidden.float().cpu().numpy())
        if self.pool == "none":
            return [state[own] for state, own in zip(hidden.float().cpu().numpy(), places, strict=True)]
        return list(_means(hidden, places))


def _last_linear(module: Any) -> Any:
    """Return the linear layer that makes the logits.

    Raises:
        ArgumentError: there is none.
    """
    import torch

    classes = len(module.config.id2label)
    found = [part for part in module.modules() if isinstance(part, torch.nn.Linear) and part.out_features == classes]
    if not found:
        raise ArgumentError(
            f"grad_norm_head is of a last linear layer with {classes} outputs, and {type(module).__name__} has none."
        )
    return found[-1]


def _means(hidden: Any, places: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean of each clip's real frames, where the model is: float32 (clips, dimensions)."""
    import torch

    weight = np.zeros(hidden.shape[:2])
    for row, own in enumerate(places):
        weight[row, own] = 1 / len(own)
    wide = torch.float32 if hidden.device.type == "mps" else torch.float64
    weights = torch.from_numpy(weight).to(hidden.device, wide)
    filled = (weights == 0)[:, :, None]  # NaN may stand there, and 0 x NaN is NaN
    return torch.bmm(weights[:, None], hidden.to(wide).masked_fill(filled, 0))[:, 0].float().cpu().numpy()  # type: ignore[no-any-return]
