"""What the rows of each combination add up to: counts, sums, sums by speaker, and macro F1 with its jackknife."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_select.subgroups.bits import BitSets, lowest_bit, num_threads, popcount
from hf_select.subgroups.compiled import compiled
from hf_select.subgroups.mining import Mined
from hf_select.subgroups.speakers import STATISTICS, speaker_statistics

__all__ = ["count_ones", "macro_f1", "sum_by_speaker", "sum_numbers"]

_PARTS = 8  # that each thread gets, so that none waits long for another

Words = NDArray[np.uint64]


def count_ones(sets: BitSets, mined: Mined, judged: Words, positive: Words) -> NDArray[np.int64]:
    """Return (3 x combinations): rows, rows with an outcome, rows whose outcome is 1."""
    out = np.empty((3, len(mined)), np.int64)
    _in_chunks(mined, lambda a, b: _count(sets.words, mined.items, mined.offset, judged, positive, out, a, b))
    return out


@compiled
def _count(words: Any, items: Any, offset: Any, judged: Any, positive: Any, out: Any, first: int, end: int) -> None:
    rows = np.empty(words.shape[1], np.uint64)
    for n in range(first, end):
        _intersect(words, items, offset[n], offset[n + 1], rows)
        a, b, c = np.uint64(0), np.uint64(0), np.uint64(0)
        for word in range(len(rows)):
            a += popcount(rows[word])
            b += popcount(rows[word] & judged[word])
            c += popcount(rows[word] & positive[word])
        out[0, n], out[1, n], out[2, n] = a, b, c


@compiled
def _intersect(words: Any, items: Any, first: int, end: int, rows: Any) -> None:
    for word in range(len(rows)):
        rows[word] = words[items[first], word]
    for n in range(first + 1, end):
        for word in range(len(rows)):
            rows[word] &= words[items[n], word]


def sum_numbers(sets: BitSets, mined: Mined, judged: Words, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (4 x combinations): rows, rows with an outcome, the sum of the outcomes, and of their squares."""
    out = np.empty((4, len(mined)), np.float64)
    _in_chunks(mined, lambda a, b: _sum(sets.words, mined.items, mined.offset, judged, values, out, a, b))
    return out


@compiled
def _sum(words: Any, items: Any, offset: Any, judged: Any, values: Any, out: Any, first: int, end: int) -> None:
    rows = np.empty(words.shape[1], np.uint64)
    for n in range(first, end):
        _intersect(words, items, offset[n], offset[n + 1], rows)
        support, count, total, squares = np.uint64(0), 0, 0.0, 0.0
        for word in range(len(rows)):
            support += popcount(rows[word])
            left = rows[word] & judged[word]
            while left:
                value = values[64 * word + lowest_bit(left)]
                left &= left - np.uint64(1)
                count += 1
                total += value
                squares += value * value
        out[0, n], out[1, n], out[2, n], out[3, n] = support, count, total, squares


def sum_by_speaker(
    sets: BitSets,
    mined: Mined,
    judged: Words,
    values: NDArray[np.float64],
    speakers: NDArray[np.int32],
    wrong: tuple[float, float],
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Return (statistics, the speaker with the most errors, its share of them) of each combination.

    Statistics are those of `speakers.speaker_statistics`, combinations x len(STATISTICS). The errors of n rows whose outcomes sum
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
    _in_chunks(mined, lambda a, b: _by_speaker(arrays, wrong, out, a, b))
    return out


@compiled
def _by_speaker(arrays: Any, wrong: Any, out: Any, first: int, end: int) -> None:
    words, items, offset, judged, values, speakers, all_rows, all_sums = arrays
    statistics, worst, share = out
    rows = np.empty(words.shape[1], np.uint64)
    count, total = np.empty(len(all_rows)), np.empty(len(all_rows))
    for n in range(first, end):
        _intersect(words, items, offset[n], offset[n + 1], rows)
        count[:] = 0
        total[:] = 0
        for word in range(len(rows)):
            left = rows[word] & judged[word]
            while left:
                row = 64 * word + lowest_bit(left)
                left &= left - np.uint64(1)
                count[speakers[row]] += 1
                total[speakers[row]] += values[row]
        speaker_statistics(count, total, all_rows, all_sums, statistics[n])
        errors, most, who = 0.0, 0.0, -1
        for s in range(len(count)):
            own = wrong[0] * count[s] + wrong[1] * total[s]
            errors += own
            if own > most:
                most, who = own, s
        worst[n], share[n] = who, most / errors if errors > 0 else math.nan


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
    _in_chunks(
        mined,
        lambda a, b: _f1(sets.words, mined.items, mined.offset, judged, labels, predicted, groups, whole, out, a, b),
    )
    return out


@compiled
def _f1(
    words: Any,
    items: Any,
    offset: Any,
    judged: Any,
    labels: Any,
    predicted: Any,
    groups: Any,
    whole: Any,
    out: Any,
    first: int,
    end: int,
) -> None:
    rows = np.empty(words.shape[1], np.uint64)
    for n in range(first, end):
        _intersect(words, items, offset[n], offset[n + 1], rows)
        inside = np.zeros(whole.shape)
        support, count = np.uint64(0), 0
        for word in range(len(rows)):
            support += popcount(rows[word])
            left = rows[word] & judged[word]
            while left:
                row = 64 * word + lowest_bit(left)
                left &= left - np.uint64(1)
                count += 1
                inside[0, groups[row], labels[row]] += 1
                inside[1, groups[row], predicted[row]] += 1
                if labels[row] == predicted[row]:
                    inside[2, groups[row], labels[row]] += 1
        out[0, n], out[1, n] = support, count
        out[2, n], out[3, n], out[4, n], out[5, n], out[6, n] = _jackknife(inside, whole - inside)


@compiled
def _jackknife(inside: Any, rest: Any) -> Any:
    """Return (F1, error, F1 minus that of the rest, error, degrees of freedom) from counts by kind, group and class."""
    here, there = inside.sum(axis=1), rest.sum(axis=1)
    score, difference = _mean_f1(here), _mean_f1(here) - _mean_f1(there)
    left_out, apart, places = [score for _ in range(0)], [score for _ in range(0)], 0
    for group in range(inside.shape[1]):
        own, other = inside[:, group], rest[:, group]
        if own.sum() + other.sum() == 0:
            continue
        places += own.sum() > 0
        score_without = _mean_f1(here - own)
        left_out.append(score_without)
        apart.append(score_without - _mean_f1(there - other))
    return score, _spread(left_out), difference, _spread(apart), places - 1


@compiled
def _mean_f1(counts: Any) -> float:
    total, classes = 0.0, 0
    for c in range(counts.shape[1]):
        size = counts[0, c] + counts[1, c]
        if size > 0:
            total += 2 * counts[2, c] / size
            classes += 1
    return total / classes if classes else math.nan


@compiled
def _spread(values: Any) -> float:
    """Return the jackknife's standard error from the estimates that each leave out one group."""
    mean, squares = 0.0, 0.0
    for value in values:
        mean += value / len(values)
    for value in values:
        squares += (value - mean) ** 2
    return math.sqrt(squares * (len(values) - 1) / len(values)) if len(values) else math.nan


def _in_chunks(mined: Mined, work: Callable[[int, int], None]) -> None:
    threads = num_threads()
    edges = np.linspace(0, len(mined), threads * _PARTS + 1).astype(np.int64).tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, edges[:-1], edges[1:]))
