"""What each score means: the list of columns that `score` can make, and the formulas of a classifier's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from hf_select.errors import ArgumentError

__all__ = ["SCORE_COLUMNS", "ScoreColumn", "check_columns", "check_kind", "classifier_columns", "needs", "schema_of"]


@dataclass(frozen=True)
class ScoreColumn:
    """One column: which kinds of model make it, what it reads beside the sound, and how it is stored."""

    kinds: tuple[str, ...]
    needs: str | None
    type: pa.DataType
    meaning: str


_HEADS, _SPEECH = ("classifier",), ("ctc", "seq2seq")
_NUMBER = pa.float64()
SCORE_COLUMNS: dict[str, ScoreColumn] = {
    "embedding": ScoreColumn(
        ("encoder", "classifier", "ctc", "seq2seq"),
        None,
        pa.list_(pa.float32()),
        "hidden states, averaged over a clip's real frames",
    ),
    "probs": ScoreColumn(_HEADS, None, pa.list_(pa.float32()), "probability of each class"),
    "predicted": ScoreColumn(_HEADS, None, pa.int64(), "the most probable class"),
    "correct": ScoreColumn(_HEADS, "label", pa.bool_(), "whether that is the label"),
    "loss": ScoreColumn(
        ("classifier", "ctc", "seq2seq"),
        "label or text",
        _NUMBER,
        "cross entropy in nats, of models that write per token",
    ),
    "confidence": ScoreColumn(_HEADS, None, _NUMBER, "the largest probability"),
    "margin": ScoreColumn(_HEADS, None, _NUMBER, "the largest probability minus the second"),
    "entropy": ScoreColumn(_HEADS, None, _NUMBER, "entropy of the probabilities in nats, 0 to log(classes)"),
    "el2n": ScoreColumn(_HEADS, "label", _NUMBER, "length of the error vector: probabilities minus the label's 1"),
    "grad_norm": ScoreColumn(
        ("classifier", "ctc"),
        "label or text",
        _NUMBER,
        "norm of the gradient of the loss over all trainable parameters",
    ),
    "grad_norm_head": ScoreColumn(_HEADS, "label", _NUMBER, "the same over the last linear layer alone"),
    "transcript": ScoreColumn(_SPEECH, None, pa.string(), "what the model hears (greedy)"),
    "wer": ScoreColumn(_SPEECH, "text", _NUMBER, "word errors of the transcript per word of the text"),
    "cer": ScoreColumn(_SPEECH, "text", _NUMBER, "character errors per character of the text"),
}


def check_columns(columns: Any) -> tuple[str, ...]:
    """Return the columns that are asked for, or raise an ArgumentError that lists those there are."""
    listed = isinstance(columns, Sequence | set | dict) and not isinstance(columns, str)
    names = tuple(columns) if listed else (columns,)
    unknown = [name for name in names if name not in SCORE_COLUMNS]
    if unknown or not names or len(set(names)) < len(names):
        raise ArgumentError(f"columns are some of {', '.join(SCORE_COLUMNS)}, each once; got {columns!r}.")
    return names


def check_kind(columns: Sequence[str], kind: str, name: str) -> None:
    """Raise an ArgumentError if a model of this kind does not make one of the columns."""
    wrong = [column for column in columns if kind not in SCORE_COLUMNS[column].kinds]
    if wrong:
        able = ", ".join(column for column, made in SCORE_COLUMNS.items() if kind in made.kinds)
        wants = " or ".join(SCORE_COLUMNS[wrong[0]].kinds)
        raise ArgumentError(
            f"{wrong[0]!r} comes from a model of kind {wants}, and {name} is of kind {kind}: it makes {able}."
        )


def needs(column: str, kind: str) -> str | None:
    """Return what a column reads beside the sound: "label", "text" or nothing."""
    if column in ("loss", "grad_norm"):
        return "label" if kind == "classifier" else "text"
    return SCORE_COLUMNS[column].needs


def schema_of(columns: Sequence[str], prefix: str, pool: str, width: int | None) -> pa.Schema:
    """Return how the columns are stored; `width` is the size of one embedding vector where frames are kept."""
    fields = []
    for name in columns:
        kind = SCORE_COLUMNS[name].type if name in SCORE_COLUMNS else _NUMBER  # a segment's
        if name == "embedding" and pool == "none":
            kind = pa.list_(pa.list_(pa.float32(), width or -1))
        fields.append((prefix + name, kind))
    return pa.schema(fields)


def classifier_columns(logits: np.ndarray, labels: Sequence[int | None] | None) -> dict[str, list[Any]]:
    """Return every score of a classifier.

    Args:
        logits: (rows, classes).
        labels: number of each row's class, None where it has none.

    >>> found = classifier_columns(np.log([[0.7, 0.2, 0.1]]), [1])
    >>> found["predicted"], found["correct"], [round(x, 4) for x in found["loss"] + found["margin"]]
    ([0], [False], [1.6094, 0.5])
    """
    logits = np.asarray(logits, dtype=np.float64)
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        logs = logits - logits.max(axis=1, keepdims=True)
    logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
    probs = np.exp(logs)
    ranked = np.sort(probs, axis=1)[:, ::-1]
    known = np.isfinite(probs).all(axis=1).tolist()  # NaN has no largest
    predicted = [best if fine else math.nan for best, fine in zip(probs.argmax(axis=1).tolist(), known, strict=True)]
    found: dict[str, list[Any]] = {
        "probs": list(probs.astype(np.float32)),
        "predicted": predicted,
        "confidence": ranked[:, 0].tolist(),
        "margin": (ranked[:, 0] - (ranked[:, 1] if ranked.shape[1] > 1 else 0)).tolist(),
        "entropy": np.maximum(-(probs * np.where(probs == 0, 0, logs)).sum(axis=1), 0.0).tolist(),
    }
    if labels is not None:
        found["correct"] = [
            p if p != p else None if y is None else p == y for p, y in zip(predicted, labels, strict=True)
        ]
        found["loss"] = [None if y is None else float(-logs[row, y]) for row, y in enumerate(labels)]
        truth = np.array([-1 if y is None else y for y in labels])
        errors = np.linalg.norm(probs - (np.arange(probs.shape[1]) == truth[:, None]), axis=1).tolist()
        found["el2n"] = [None if y is None else error for y, error in zip(labels, errors, strict=True)]
    return found
