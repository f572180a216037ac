"""How well classes are recognised: weighted and unweighted accuracy, macro F1, and the line that guessing reaches."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hf_select.metrics.inputs import read_pairs

__all__ = ["macro_f1", "majority_line", "unweighted_accuracy", "weighted_accuracy"]


def weighted_accuracy(predictions: Any, references: Any) -> float:
    """Return the share of rows that are right (WA), in which each class weighs as much as it has rows.

    Args:
        predictions, references: one class label per row, whole numbers or text.

    Returns:
        0 (no row is right) to 1 (all are).

    Raises:
        ArgumentError: no rows; lengths differ; a row without a label; text against numbers.

    Reference:
        The name is the speech emotion field's; elsewhere this is accuracy.

    Relations:
        `unweighted_accuracy` gives each class one voice; `majority_line` is what guessing the largest class reaches here.

    Example:
        >>> weighted_accuracy([0, 0, 0, 0], [0, 0, 0, 1])
        0.75
    """
    counts = _count(predictions, references)
    return float(counts.right.sum() / counts.true.sum())


def unweighted_accuracy(predictions: Any, references: Any) -> float:
    """Return the mean over classes of their recall (UA): each class that occurs in the references has one voice.

    Args:
        predictions, references: one class label per row, whole numbers or text.

    Returns:
        0 to 1; a model that always says one of c classes gets 1 / c, however frequent that class is.

    Raises:
        ArgumentError: as `weighted_accuracy`.

    Reference:
        Schuller, Steidl & Batliner, The INTERSPEECH 2009 Emotion Challenge (there: unweighted average recall).
        Equal to scikit-learn's `balanced_accuracy_score`.

    Example:
        >>> unweighted_accuracy([0, 0, 0, 0], [0, 0, 0, 1])
        0.5
    """
    counts = _count(predictions, references)
    there = counts.true > 0
    return float((counts.right[there] / counts.true[there]).mean())


def macro_f1(predictions: Any, references: Any) -> float:
    """Return the mean of F1 over the classes that occur in the references or in the predictions.

    F1 of a class = 2 right / (true + said): rows of the class that are right, rows of the class, rows said to be of it.

    Args:
        predictions, references: one class label per row, whole numbers or text.

    Returns:
        0 to 1. A class that is only ever predicted counts with 0.

    Raises:
        ArgumentError: as `weighted_accuracy`.

    Reference:
        Equal to scikit-learn's `f1_score(average="macro")` with `labels=None`.

    Example:
        >>> round(macro_f1([0, 0, 0, 0], [0, 0, 0, 1]), 4)
        0.4286
    """
    counts = _count(predictions, references)
    return float((2 * counts.right / (counts.true + counts.said)).mean())


def majority_line(references: Any) -> float:
    """Return the share of the most frequent class: the weighted accuracy of always saying that class.

    Args:
        references: one class label per row, whole numbers or text.

    Returns:
        1 / classes (all equally frequent) to 1 (one class only).

    Raises:
        ArgumentError: no rows; a row without a label.

    Relations:
        `hf_select.balance` measures the spread over all classes.

    Example:
        >>> majority_line(["yes", "yes", "no"])
        0.6666666666666666
    """
    counts = _count(references, references)
    return float(counts.true.max() / counts.true.sum())


class _Counts(NamedTuple):
    right: NDArray[np.int64]  # rows of each class that are right
    true: NDArray[np.int64]  # rows of each class
    said: NDArray[np.int64]  # rows that were said to be of each class


def _count(predictions: Any, references: Any) -> _Counts:
    said, true = read_pairs(predictions, references)
    codes: dict[int | str, int] = {}
    true_codes = np.array([codes.setdefault(label, len(codes)) for label in true])
    said_codes = np.array([codes.setdefault(label, len(codes)) for label in said])
    right = np.bincount(true_codes[true_codes == said_codes], minlength=len(codes))
    return _Counts(right, np.bincount(true_codes, minlength=len(codes)), np.bincount(said_codes, minlength=len(codes)))
