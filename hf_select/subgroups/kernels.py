"""All code that numba compiles and that calls other compiled code, in one file.

numba keeps compiled code on disk and compiles it again when the file of a function has changed, but not when a
function that it calls in another file has: then old and new code would run together. So they stand together.
(`hypergeometric` calls nothing from here, and nothing here calls it.)

Sets of rows are bits, 64 to a word. Combinations of values ("items") are given as items[offset[n] : offset[n + 1]].
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba.core import types
from numba.extending import intrinsic

from hf_select.subgroups.compiled import compiled

__all__ = [
    "STATISTICS",
    "count",
    "fill_codes",
    "jackknife_f1",
    "speaker_statistics",
    "spell_out",
    "sum_by_speaker",
    "sum_up",
    "walk",
]

STATISTICS = (
    "speakers",  # that have rows in the subgroup
    "rows",
    "difference",  # of the means of subgroup and rest
    "variance",  # of it, by the jackknife over speakers; NaN where one speaker has all rows of a side
    "df",
    "overlap",  # sum over speakers of (share of the subgroup's rows - share of the rest's rows) squared
    "variance_mean",  # of the subgroup's mean alone; NaN where one speaker has all its rows
    "df_mean",
    "overlap_mean",  # sum over speakers of the squared shares of the subgroup's rows
)


def _popcount(typing_context: Any, word: Any) -> Any:
    """Count the bits of a word that are 1: one instruction of the processor."""
    del typing_context

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


def _lowest_bit(typing_context: Any, word: Any) -> Any:
    """Return the place of the lowest bit of a word that is not 0."""
    del typing_context

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        from llvmlite import ir

        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


popcount: Any = intrinsic(_popcount)
lowest_bit: Any = intrinsic(_lowest_bit)


# -- mining


@compiled
def walk(words: Any, attribute: Any, min_count: int, max_length: int, start: int) -> Any:
    """Walk the combinations whose first item is `start`: (last item, length, count) of each, parents before children."""
    n_items, n_words = words.shape
    prefix = np.empty((max_length, n_words), np.uint64)
    candidates = np.empty((max_length + 1, n_items), np.int64)
    counts = np.empty((max_length + 1, n_items), np.int64)
    size, at = np.zeros(max_length + 1, np.int64), np.zeros(max_length + 1, np.int64)
    last, length, count = np.empty(64, np.int64), np.empty(64, np.int64), np.empty(64, np.int64)
    found, depth = 0, 0
    total = np.uint64(0)
    for word in range(n_words):
        total += popcount(words[start, word])
    candidates[0, 0], counts[0, 0], size[0] = start, total, 1
    while depth >= 0:
        if at[depth] == size[depth]:
            depth -= 1
            continue
        place = at[depth]
        at[depth] += 1
        item = candidates[depth, place]
        if found == len(last):
            last, length, count = _doubled(last), _doubled(length), _doubled(count)
        last[found], length[found], count[found] = item, depth + 1, counts[depth, place]
        found += 1
        if depth + 1 == max_length:
            continue
        for word in range(n_words):
            prefix[depth, word] = words[item, word] if depth == 0 else prefix[depth - 1, word] & words[item, word]
        below = 0
        first = item + 1 if depth == 0 else place + 1
        until = n_items if depth == 0 else size[depth]
        for n in range(first, until):
            other = n if depth == 0 else candidates[depth, n]
            if attribute[other] == attribute[item]:
                continue
            total = np.uint64(0)
            for word in range(n_words):
                total += popcount(prefix[depth, word] & words[other, word])
            if total >= np.uint64(min_count):
                candidates[depth + 1, below], counts[depth + 1, below] = other, total
                below += 1
        if below:
            depth += 1
            size[depth], at[depth] = below, 0
    return last[:found].copy(), length[:found].copy(), count[:found].copy()


@compiled
def _doubled(values: Any) -> Any:
    larger = np.empty(2 * len(values), values.dtype)
    larger[: len(values)] = values
    return larger


@compiled
def spell_out(last: Any, length: Any) -> Any:
    """Write out the items of every combination, (items, offset): its parent stands before it, one shorter."""
    offset = np.zeros(len(last) + 1, np.int64)
    offset[1:] = np.cumsum(length)
    items = np.empty(offset[-1], np.int64)
    path = np.empty(max(1, length.max()), np.int64)
    for n in range(len(last)):
        path[length[n] - 1] = last[n]
        items[offset[n] : offset[n + 1]] = path[: length[n]]
    return items, offset


@compiled
def fill_codes(items: Any, offset: Any, attribute: Any, code: Any, out: Any) -> None:
    """Fill out[n, attribute] with the codes of the items of combination n."""
    for n in range(len(offset) - 1):
        for place in range(offset[n], offset[n + 1]):
            out[n, attribute[items[place]]] = code[items[place]]


# -- what the rows of combinations add up to


@compiled
def count(words: Any, items: Any, offset: Any, judged: Any, positive: Any, out: Any, first: int, end: int) -> None:
    """Fill out[:, n]: rows, rows with an outcome, rows whose outcome is 1."""
    sets = np.empty((_deepest(offset), words.shape[1]), np.uint64)
    for n in range(first, end):
        rows = _rows_of(words, items, offset, n, first, sets)
        a, b, c = np.uint64(0), np.uint64(0), np.uint64(0)
        for word in range(len(rows)):
            a += popcount(rows[word])
            b += popcount(rows[word] & judged[word])
            c += popcount(rows[word] & positive[word])
        out[0, n], out[1, n], out[2, n] = a, b, c


@compiled
def _rows_of(words: Any, items: Any, offset: Any, n: int, first: int, sets: Any) -> Any:
    """Return the rows of combination n. sets[d] are those of its first d + 1 items: what it shares with n - 1 stands there."""
    start, end = offset[n], offset[n + 1]
    place = 0
    if n > first:
        before = offset[n - 1]
        while start + place < end and before + place < start and items[start + place] == items[before + place]:
            place += 1
    for d in range(place, end - start):
        item = items[start + d]
        for word in range(words.shape[1]):
            sets[d, word] = words[item, word] if d == 0 else sets[d - 1, word] & words[item, word]
    return sets[end - start - 1]


@compiled
def _deepest(offset: Any) -> int:
    most = 1
    for n in range(len(offset) - 1):
        most = max(most, offset[n + 1] - offset[n])
    return most


@compiled
def sum_up(words: Any, items: Any, offset: Any, judged: Any, values: Any, out: Any, first: int, end: int) -> None:
    """Fill out[:, n]: rows, rows with an outcome, the sum of the outcomes, and of their squares."""
    sets = np.empty((_deepest(offset), words.shape[1]), np.uint64)
    for n in range(first, end):
        rows = _rows_of(words, items, offset, n, first, sets)
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


@compiled
def sum_by_speaker(arrays: Any, wrong: Any, out: Any, first: int, end: int) -> None:
    """Fill out for each combination: statistics over speakers, the speaker with the most errors, its share of them."""
    words, items, offset, judged, values, speakers, all_rows, all_sums = arrays
    statistics, worst, share = out
    sets = np.empty((_deepest(offset), words.shape[1]), np.uint64)
    count, total = np.empty(len(all_rows)), np.empty(len(all_rows))
    for n in range(first, end):
        rows = _rows_of(words, items, offset, n, first, sets)
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


@compiled
def jackknife_f1(
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
    """Fill out[:, n]: rows, judged rows, macro F1, its error, F1 minus that of the rest, its error, degrees of freedom."""
    sets = np.empty((_deepest(offset), words.shape[1]), np.uint64)
    for n in range(first, end):
        rows = _rows_of(words, items, offset, n, first, sets)
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


# -- speakers


@compiled
def speaker_statistics(n: Any, y: Any, N: Any, Y: Any, out: Any) -> None:
    """Measure one subgroup over speakers: fills `out` as `STATISTICS` names it, in time linear in the speakers.

    Jackknife variances are sums of squared shifts of the difference (or mean) when one speaker is left out, made right
    on average for speakers who each have an effect of their own in the subgroup, and another in the rest. A mean has as
    many degrees of freedom as its effective number of speakers (1 / sum of squared shares, 2 if two have half the rows
    each) less one; the difference has those of Satterthwaite.

    Args:
        n, y: rows of the subgroup, and the sum of their outcomes, per speaker. N, Y: the same of all rows.
        out: len(STATISTICS) floats.
    """
    out[:] = np.nan
    rows, total, rest, total_rest, speakers, speakers_rest = 0.0, 0.0, 0.0, 0.0, 0, 0
    for s in range(len(n)):
        rows += n[s]
        total += y[s]
        rest += N[s] - n[s]
        total_rest += Y[s] - y[s]
        speakers += n[s] > 0
        speakers_rest += N[s] > n[s]
    out[0], out[1] = speakers, rows
    if rows == 0:
        return
    mean, mean_rest = total / rows, total_rest / max(rest, 1.0)
    variance, variance_mean, overlap = 0.0, 0.0, 0.0
    for s in range(len(n)):
        left = N[s] - n[s]
        shift = (y[s] - n[s] * mean) / (rows - n[s]) if speakers > 1 else 0.0
        variance_mean += shift**2
        if speakers_rest > 1:
            shift -= (Y[s] - y[s] - left * mean_rest) / (rest - left)
            variance += shift**2
        overlap += (n[s] / rows - left / max(rest, 1.0)) ** 2
    true, expected = _of_shares(n, rows) if speakers > 1 else (1.0, 1.0)
    out[8] = true
    if speakers > 1:
        out[6], out[7] = variance_mean * true / expected, 1 / true - 1
    if rest > 0:
        out[2], out[5] = mean - mean_rest, overlap
    if speakers > 1 and speakers_rest > 1:
        true_rest, expected_rest = _of_shares(N - n, rest)
        out[3] = variance * (true + true_rest) / (expected + expected_rest)
        out[4] = (true + true_rest) ** 2 / (true**2 / (1 / true - 1) + true_rest**2 / (1 / true_rest - 1))


@compiled
def _of_shares(rows: Any, total: float) -> tuple[float, float]:
    """Return (the variance of a mean, the mean of its jackknife variance), for so many rows by speaker.

    Each speaker has an effect of its own, of variance 1. With h a speaker's share of the rows the mean's variance is the
    sum of h^2; leaving the speaker out shifts the mean by h / (1 - h) times (effect - mean).
    """
    true, expected = 0.0, 0.0
    for count in rows:
        true += (count / total) ** 2
    for count in rows:
        if count > 0:
            h = count / total
            expected += h**2 + (count / (total - count)) ** 2 * (true - h**2)
    return true, expected
