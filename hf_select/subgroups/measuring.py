"""What the rows of each combination add up to: counts, sums, sums by speaker, and macro F1 with its jackknife."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hf_select.subgroups import kernels
from hf_select.subgroups.bits import BitSets
from hf_select.subgroups.kernels import STATISTICS
from hf_select.subgroups.mining import Mined
from hf_select.subgroups.threads import in_chunks

__all__ = ["count_ones", "macro_f1", "sum_by_speaker", "sum_numbers"]

Words = NDArray[np.uint64]


def count_ones(sets: BitSets, mined: Mined, judged: Words, positive: Words) -> NDArray[np.int64]:
    """Return (3 x combinations): rows, rows with an outcome, rows whose outcome is 1."""
    out = np.empty((3, len(mined)), np.int64)
    in_chunks(
        len(mined), lambda a, b: kernels.count(sets.words, mined.items, mined.offset, judged, positive, out, a, b)
    )
    return out


def sum_numbers(sets: BitSets, mined: Mined, judged: Words, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (4 x combinations): rows, rows with an outcome, the sum of the outcomes, and of their squares."""
    out = np.empty((4, len(mined)), np.float64)
    in_chunks(len(mined), lambda a, b: kernels.sum_up(sets.words, mined.items, mined.offset, judged, values, out, a, b))
    return out


def sum_by_speaker(
    sets: BitSets,
    mined: Mined,
    judged: Words,
    values: NDArray[np.float64],
    speakers: NDArray[np.int32],
    wrong: tuple[float, float],
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Return (statistics, the speaker with the most errors, its share of them) of each combination.

    Statistics are those of `kernels.speaker_statistics`, combinations x len(STATISTICS). The errors of n rows whose outcomes sum
    to y are wrong[0] * n + wrong[1] * y.
    """
    n_speakers = int(speakers.max()) + 1
    known = ~np.isnan(values)
    rows = np.bincount(speakers[known], minlength=n_speakers).astype(np.float64)
    sums = np.bincount(speakers[known], weights=values[known], minlength=n_speakers)
    statistics = np.empty((len(mined), len(STATISTICS)), np.float64)
    worst, share = np.empty(len(mined), np.int64), np.empty(len(mined), np.float64)
    out = (statistics, worst, share)
    arrays = (sets.words, mined.items, mined.offset, judged, values, speakers, rows, sums)
    in_chunks(len(mined), lambda a, b: kernels.sum_by_speaker(arrays, wrong, out, a, b))
    return out


def macro_f1(
    sets: BitSets,
    mined: Mined,
    judged: Words,
    labels: NDArray[np.int32],
    predicted: NDArray[np.int32],
    groups: NDArray[np.int32],
) -> NDArray[np.float64]:
    """Return (7 x combinations): rows, judged rows, macro F1, its error, F1 minus that of the rest, its error, degrees of freedom.

    Macro F1 is the mean F1 of the classes that occur among labels or predictions. Errors are those of a jackknife that
    leaves out one of `groups` (speakers, or blocks of rows) at a time; degrees of freedom are the groups with rows, less one.
    """
    classes, n_groups = int(max(labels.max(), predicted.max())) + 1, int(groups.max()) + 1
    whole = np.zeros((3, n_groups, classes))
    known = labels >= 0
    for kind, codes in enumerate((labels, predicted, np.where(labels == predicted, labels, -1))):
        here = known & (codes >= 0)
        np.add.at(whole[kind], (groups[here], codes[here]), 1.0)
    out = np.empty((7, len(mined)), np.float64)
    in_chunks(
        len(mined),
        lambda a, b: kernels.jackknife_f1(
            sets.words, mined.items, mined.offset, judged, labels, predicted, groups, whole, out, a, b
        ),
    )
    return out
