"""Read what metrics are given: labels and scores, one per row, from lists, arrays, tensors and columns alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_select.errors import ArgumentError

__all__ = ["as_list", "read_binary", "read_labels", "read_pairs", "read_scores", "require_same_length"]


def as_list(values: Any, name: str) -> list[Any]:
    """Return any collection as a list; of arrays and tensors, wherever they live, as Python values.

    Raises:
        ArgumentError: it is a single value, text, or a mapping.

    Example:
        >>> as_list(np.array([1, 2]), "references")
        [1, 2]
    """
    for verb in ("tolist", "to_pylist"):  # arrays, tensors and Series; Arrow
        if hasattr(values, verb):
            values = getattr(values, verb)()
            break
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise ArgumentError(f"{name}: a list or array with one value per row is needed, not a {type(values).__name__}.")
    return list(values)


def read_labels(values: Any, name: str) -> list[int] | list[str]:
    """Return class labels as plain whole numbers, or as text, one per row.

    Args:
        values: a list, numpy array, torch tensor, pandas Series, Arrow array or column of a dataset.
        name: what errors call it.

    Raises:
        ArgumentError: a row has no label (None, NaN), several, or a fraction; numbers and text are mixed.

    Example:
        >>> read_labels(np.array([1.0, 0.0]), "references"), read_labels([True, False], "references")
        ([1, 0], [1, 0])
    """
    items = as_list(values, name)
    kinds = set(map(type, items))
    if kinds <= {int} or kinds <= {str}:
        return items
    plain = [item.item() if getattr(item, "ndim", None) == 0 else item for item in items]
    if all(isinstance(item, str) for item in plain):
        return [str(item) for item in plain]
    for row, item in enumerate(plain):
        if isinstance(item, str):
            raise ArgumentError(f"{name}: text and numbers are mixed; row {row} is {item!r}. Give one kind of label.")
        if item is None or item != item:
            raise ArgumentError(f"{name}: row {row} has no label ({item}). Leave such rows out.")
        if not isinstance(item, (int, float)):
            raise ArgumentError(
                f"{name}: one label per row is needed, and row {row} is a {type(item).__name__}. "
                "Of logits or probabilities, take the argmax(axis=-1)."
            )
        if int(item) != item:
            raise ArgumentError(
                f"{name}: a label is a whole number or text, and row {row} is {item!r}. Are these probabilities?"
            )
    return [int(item) for item in plain]


def read_pairs(predictions: Any, references: Any) -> tuple[list[int] | list[str], list[int] | list[str]]:
    """Return the labels that were predicted and those that are true: as many, at least one, of one kind.

    Raises:
        ArgumentError: otherwise, and where `read_labels` refuses.

    Example:
        >>> read_pairs(np.array([0, 1]), [True, True])
        ([0, 1], [1, 1])
    """
    said, true = read_labels(predictions, "predictions"), read_labels(references, "references")
    require_same_length(predictions=said, references=true)
    if isinstance(said[0], str) != isinstance(true[0], str):
        raise ArgumentError(
            f"predictions are such as {said[0]!r} and references such as {true[0]!r}: give text for both, or numbers."
        )
    return said, true


def read_binary(values: Any, name: str) -> NDArray[np.bool_]:
    """Return labels that are 0 or 1 (or False, True) as booleans, one per row.

    Raises:
        ArgumentError: a row holds anything else.

    Example:
        >>> read_binary([0, 1, True], "references").tolist()
        [False, True, True]
    """
    labels = read_labels(values, name)
    if strange := sorted({label for label in labels if label not in (0, 1)}, key=str):
        raise ArgumentError(f"{name}: labels are 0 or 1 here, and {strange[0]!r} is among them.")
    return np.array(labels, dtype=bool)


def read_scores(values: Any, name: str) -> NDArray[np.float64]:
    """Return finite numbers, one per row.

    Raises:
        ArgumentError: a row holds text, several numbers, none (None, NaN), or an infinite one.

    Example:
        >>> read_scores([1, 0.5], "predictions").tolist()
        [1.0, 0.5]
    """
    items = as_list(values, name)
    if texts := [item for item in items if isinstance(item, str)]:
        raise ArgumentError(f"{name}: scores are numbers, and {texts[0]!r} is among them.")
    try:
        scores = np.array(items, dtype=np.float64)
    except (TypeError, ValueError):
        raise ArgumentError(f"{name}: one number per row is needed, and some rows hold something else.") from None
    if scores.ndim != 1:
        raise ArgumentError(f"{name}: one number per row is needed, and this has the shape {scores.shape}.")
    if len(bad := np.flatnonzero(~np.isfinite(scores))):
        raise ArgumentError(
            f"{name}: {len(bad)} of {len(scores)} scores are not finite, the first in row {bad[0]} ({scores[bad[0]]}). "
            "Leave such rows out, or clip them."
        )
    return scores


def require_same_length(**columns: Any) -> None:
    """Raise an ArgumentError unless the columns are of one length, and that is not 0.

    Example:
        >>> require_same_length(predictions=[0, 1], references=[0, 1])
    """
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        found = " and ".join(f"{length} {name}" for name, length in lengths.items())
        raise ArgumentError(f"There are {found}: give one of each per row.")
    if 0 in lengths.values():
        raise ArgumentError("There are no rows: nothing can be measured.")
