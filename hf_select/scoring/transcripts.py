"""Scores of models that write: transcripts, their errors, and the loss per token of the text that was spoken."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hf_select.errors import ArgumentError, ColumnError, MissingPackageError
from hf_select.scoring.inputs import Batch
from hf_select.scoring.model import SpeechModel

__all__ = ["Transcriber"]

_LOOKED_AT = 1000  # texts, about, in which letters are looked for that a tokenizer does not know


class Transcriber:
    """What CTC and sequence-to-sequence models add.

    Args:
        model: such a model, with a tokenizer.
        columns: those that are asked for.
        generate: arguments of `model.generate` (sequence-to-sequence models).
        normalize: applied to text and transcript before errors are counted; None compares them as they are.
    """

    def __init__(
        self,
        model: SpeechModel,
        columns: Sequence[str],
        generate: Mapping[str, Any] | None = None,
        normalize: Callable[[str], str] | None = None,
    ) -> None:
        if model.tokenizer is None and set(columns) != {"embedding"}:
            raise ArgumentError(
                f"{columns} of {model.name} need its tokenizer: pass a processor= that holds feature extractor and "
                "tokenizer, such as transformers.AutoProcessor.from_pretrained(...)."
            )
        self.model, self.columns = model, columns
        self.generate, self.normalize = dict(generate or {}), normalize or (lambda text: text)
        self._count = {name: _counter(name) for name in ("wer", "cer") if name in columns}

    def targets(self, texts: Sequence[str | None]) -> list[list[int] | None]:
        """Return the tokens of each text."""
        return [None if text is None else list(self.model.tokenizer(text).input_ids) for text in texts]

    def check(self, texts: Sequence[str | None]) -> None:
        """Raise a ColumnError if the tokenizer knows little of what the texts are written in (upper case, for instance)."""
        texts = texts[:: max(1, len(texts) // _LOOKED_AT)] if "loss" in self.columns else []
        unknown = self.model.tokenizer.unk_token_id if texts else None
        tokens = np.array([token for ids in self.targets(texts) if ids for token in ids])
        if len(tokens) and unknown is not None and (tokens == unknown).mean() > 0.5:
            example = next(text for text in texts if text)
            raise ColumnError(
                f"The tokenizer of {self.model.name} does not know {100 * (tokens == unknown).mean():.0f} % of the tokens of "
                f"texts such as {example!r}: are they in another case or script than it was trained on?"
            )

    def of_ctc(self, logits: Any, frames: Sequence[int], texts: Sequence[str | None] | None) -> dict[str, list[Any]]:
        """Return the columns of a CTC model from logits (rows, frames, tokens), of which `frames` are real."""
        found: dict[str, list[Any]] = {}
        if self._writes:
            best = logits.argmax(dim=-1).cpu().numpy()
            best = [
                np.where(np.arange(len(row)) < n, row, self.model.pad_id) for row, n in zip(best, frames, strict=True)
            ]
            number = logits.isfinite().all(dim=-1).cpu().numpy()
            found["transcript"] = [
                str(text) if own[:n].all() else math.nan  # so that the row is known for one that gives no number
                for text, own, n in zip(self.model.tokenizer.batch_decode(np.stack(best)), number, frames, strict=True)
            ]
        if texts is not None and {"loss", "grad_norm"} & set(self.columns):
            found["loss"] = self._ctc_loss(logits, frames, self.targets(texts))
        return found | self._errors(found, texts)

    def of_seq2seq(self, batch: Batch, texts: Sequence[str | None] | None) -> dict[str, list[Any]]:
        """Return the columns of a sequence-to-sequence model."""
        import torch

        found: dict[str, list[Any]] = {}
        with torch.no_grad():
            if self._writes:
                tokens = self.model.module.generate(**batch.tensors, **{"do_sample": False, **self.generate})
                found["transcript"] = [
                    text.strip() for text in self.model.tokenizer.batch_decode(tokens, skip_special_tokens=True)
                ]
            if texts is not None and "loss" in self.columns:
                found["loss"] = self._forced_loss(batch, self.targets(texts))
        return found | self._errors(found, texts)

    @property
    def _writes(self) -> bool:
        return bool({"transcript", "wer", "cer"} & set(self.columns))

    def _ctc_loss(self, logits: Any, frames: Sequence[int], targets: Sequence[list[int] | None]) -> list[float | None]:
        """Return the loss of each row divided by its tokens; None without a text, or where it is too long for the clip."""
        losses = self.ctc_losses(logits.float(), frames, targets).tolist()
        return [loss if row and loss != math.inf else None for loss, row in zip(losses, targets, strict=True)]

    def ctc_losses(
        self, logits: Any, frames: Sequence[int], targets: Sequence[list[int] | None], *, zero_infinity: bool = False
    ) -> Any:
        """Return the loss of each row divided by its tokens, as a tensor; of a row without text that of silence."""
        import torch

        logs = torch.log_softmax(logits, dim=-1).transpose(0, 1)
        tokens = [row or [] for row in targets]
        flat = torch.tensor([token for row in tokens for token in row], dtype=torch.long, device=logits.device)
        lengths = torch.tensor([len(row) for row in tokens])
        losses = torch.nn.functional.ctc_loss(
            logs,
            flat,
            torch.tensor(list(frames)),
            lengths,
            blank=self.model.pad_id,
            reduction="none",
            zero_infinity=zero_infinity,
        )
        return losses / lengths.clamp_min(1).to(losses)

    def _forced_loss(self, batch: Batch, targets: Sequence[list[int] | None]) -> list[float | None]:
        """Return the mean cross entropy of each text's tokens, each given those before it."""
        import torch

        start = self.model.module.config.decoder_start_token_id
        most = getattr(self.model.module.config, "max_target_positions", None) or math.inf
        tokens = [row[1:] if row and row[0] == start else row or [] for row in targets]
        tokens = [row if len(row) <= most else [] for row in tokens]  # too long for the decoder: no loss
        longest = max(1, *map(len, tokens))
        labels = torch.full((len(tokens), longest), -100, dtype=torch.long)
        for place, row in enumerate(tokens):
            labels[place, : len(row)] = torch.tensor(row, dtype=torch.long)
        labels = labels.to(next(iter(batch.tensors.values())).device)
        logits = self.model.module(**batch.tensors, labels=labels).logits.float()
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100, reduction="none")
        return [float(loss.sum()) / len(row) if row else None for loss, row in zip(losses, tokens, strict=True)]

    def _errors(self, found: Mapping[str, list[Any]], texts: Sequence[str | None] | None) -> dict[str, list[Any]]:
        """Return error rates; None where there is no text, or an empty one."""
        if texts is None:
            return {}
        rows = [
            (None if text is None else self.normalize(text), heard if heard != heard else self.normalize(heard))
            for text, heard in zip(texts, found.get("transcript", [""] * len(texts)), strict=True)
        ]

        def rate(count: Callable[[str, str], float], text: str | None, heard: Any) -> float | None:
            if heard != heard:  # NaN
                return math.nan
            return float(count(text, heard)) if text and text.strip() else None

        return {name: [rate(count, text, heard) for text, heard in rows] for name, count in self._count.items()}


def _counter(name: str) -> Callable[[str, str], float]:
    try:
        import jiwer
    except ImportError as error:
        raise MissingPackageError(f'{name!r} is counted by jiwer: pip install "hf-select[asr]".') from error
    return getattr(jiwer, name)  # type: ignore[no-any-return]
