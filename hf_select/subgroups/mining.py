"""All frequent combinations of values, by bit sets.

Rows are bits. A value of an attribute is the set of its rows; a combination is their intersection. Combinations are
walked depth first, each as an extension of its prefix by a value of a later attribute, so that only the prefixes of one
path are held in memory (Zaki 2000, Eclat). Code compiled by numba is kept on disk after the first call.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_select.subgroups.bits import BitSets, num_threads, popcount
from hf_select.subgroups.compiled import compiled

__all__ = ["Mined", "mine"]


@dataclass(frozen=True)
class Mined:
    """Combinations in the order of the walk: the items of combination i are items[offset[i] : offset[i + 1]], ascending."""

    items: NDArray[np.int64]
    offset: NDArray[np.int64]
    count: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offset) - 1

    def codes(self, sets: BitSets, attributes: int) -> NDArray[np.int16]:
        """Return a matrix (combinations x attributes) of codes, -1 where any value will do."""
        codes = np.full((len(self.count), attributes), -1, dtype=np.int16)
        rows = np.repeat(np.arange(len(self.count)), np.diff(self.offset))
        codes[rows, sets.attribute[self.items]] = sets.code[self.items]
        return codes


def mine(sets: BitSets, min_count: int, max_length: int | None = None) -> Mined:
    """Find all combinations of one value each of one or more attributes that at least `min_count` rows have.

    Args:
        sets: the values; items of one attribute stand together. min_count: 1 or more. max_length: values at most.
    """
    length = len(set(sets.attribute.tolist()))
    length = length if max_length is None else min(length, max_length)
    starts = [n for n in range(len(sets.words)) if np.bitwise_count(sets.words[n]).sum() >= min_count]
    frequent = sets.some(np.array(starts, dtype=np.int64))
    walk = lambda n: _walk(frequent.words, frequent.attribute, min_count, length, n)  # noqa: E731
    with ThreadPoolExecutor(num_threads()) as pool:
        branches = list(pool.map(walk, range(len(starts))))
    if not branches:
        return Mined(np.zeros(0, np.int64), np.zeros(1, np.int64), np.zeros(0, np.int64))
    last, depth, count = (np.concatenate(parts) for parts in zip(*branches, strict=True))
    items, offset = _spell_out(last, depth)
    return Mined(np.array(starts, dtype=np.int64)[items], offset, count)


@compiled
def _walk(words: Any, attribute: Any, min_count: int, max_length: int, start: int) -> Any:
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
def _spell_out(last: Any, length: Any) -> Any:
    """Write out the items of every combination: its parent stands before it, one shorter."""
    offset = np.zeros(len(last) + 1, np.int64)
    offset[1:] = np.cumsum(length)
    items = np.empty(offset[-1], np.int64)
    path = np.empty(max(1, length.max()), np.int64)
    for n in range(len(last)):
        path[length[n] - 1] = last[n]
        items[offset[n] : offset[n + 1]] = path[: length[n]]
    return items, offset
