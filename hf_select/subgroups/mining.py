"""All frequent combinations of values, by bit sets.

Rows are bits. A value of an attribute is the set of its rows; a combination is their intersection. Combinations are
walked depth first, each as an extension of its prefix by a value of a later attribute, so that only the prefixes of one
path are held in memory (Zaki 2000, Eclat). Code compiled by numba is kept on disk after the first call.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hf_select.subgroups import kernels
from hf_select.subgroups.bits import BitSets
from hf_select.subgroups.threads import num_threads

__all__ = ["Mined", "mine"]


@dataclass(frozen=True)
class Mined:
    """Combinations in the order of the walk: the items of combination i are items[offset[i] : offset[i + 1]], ascending."""

    items: NDArray[np.int64]
    offset: NDArray[np.int64]
    count: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offset) - 1

    def codes(self, sets: BitSets, attributes: int) -> NDArray[np.int32]:
        """Return a matrix (combinations x attributes) of codes, -1 where any value will do."""
        codes = np.full((len(self.count), attributes), -1, dtype=np.int32)
        kernels.fill_codes(self.items, self.offset, sets.attribute, sets.code, codes)
        return codes


def mine(sets: BitSets, min_count: int, max_length: int | None = None) -> Mined:
    """Find all combinations of one value each of one or more attributes that at least `min_count` rows have.

    Args:
        sets: the values that so many rows have; items of one attribute stand together. min_count: 1 or more.
        max_length: values at most.
    """
    length = len(set(sets.attribute.tolist()))
    length = length if max_length is None else min(length, max_length)
    walk = lambda n: kernels.walk(sets.words, sets.attribute, min_count, length, n)  # noqa: E731
    with ThreadPoolExecutor(num_threads()) as pool:
        branches = list(pool.map(walk, range(len(sets.words))))
    if not branches:
        return Mined(np.zeros(0, np.int64), np.zeros(1, np.int64), np.zeros(0, np.int64))
    last, depth, count = (np.concatenate(parts) for parts in zip(*branches, strict=True))
    items, offset = kernels.spell_out(last, depth)
    return Mined(items, offset, count)
