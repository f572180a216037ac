"""From a subgroup to the smaller ones inside its phrase: redundancy, and what each condition contributes."""

from __future__ import annotations

from functools import cached_property
from itertools import combinations
from math import factorial

import numpy as np
from numpy.typing import NDArray

__all__ = ["Lattice"]

Codes = NDArray[np.int32]
ROOT, MISSING = -1, -2  # what stands for the set of all rows, and for a combination that is not in the table
DECIMALS = 5  # of divergences that are compared, as in the authors' code: float noise decides nothing


class Lattice:
    """Combinations of values (rows of `codes`, attributes as columns, -1 = any value) that can be looked up.

    >>> found = Lattice(np.array([[0, -1], [-1, 1], [0, 1]], dtype=np.int32))
    >>> found.place(np.array([[-1, 1], [1, 1], [-1, -1]], dtype=np.int32)).tolist()
    [1, -2, -1]
    """

    def __init__(self, codes: Codes) -> None:
        self.codes = codes

    @cached_property
    def _digits(self) -> NDArray[np.uint64]:
        """A random word for each value of each attribute; the sum of a combination's words is its key."""
        values = int(self.codes.max(initial=0)) + 2
        shape = (self.codes.shape[1], values)
        return np.random.default_rng(0).integers(0, 2**64, shape, dtype=np.uint64, endpoint=False)

    def _keys(self, codes: Codes) -> NDArray[np.uint64]:
        keys = np.zeros(len(codes), dtype=np.uint64)
        for attribute, words in enumerate(self._digits):
            keys += words[codes[:, attribute].astype(np.int64) + 1]
        return keys

    @cached_property
    def _index(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        keys = self._keys(self.codes)
        order = np.argsort(keys, kind="stable")
        return keys[order], order

    def place(self, codes: Codes) -> NDArray[np.int64]:
        """Return where each combination stands; -1 for the set of all rows, -2 for one that is not there."""
        if not len(self.codes):
            return np.where((codes >= 0).any(axis=1), MISSING, ROOT)
        keys, order = self._index
        found = order[np.minimum(np.searchsorted(keys, self._keys(codes)), len(keys) - 1)]
        found = np.where((self.codes[found] == codes).all(axis=1), found, MISSING)  # a key may be met by chance
        return np.where((codes >= 0).any(axis=1), found, ROOT)

    def without(self, attribute: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (combinations with a value of this attribute, where they stand without it)."""
        rows = np.flatnonzero(self.codes[:, attribute] >= 0)
        smaller = self.codes[rows].copy()
        smaller[:, attribute] = -1
        return rows, self.place(smaller)

    def redundant(self, divergence: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
        """Say which combinations have a condition without which the divergence is the same, give or take `threshold`."""
        found = np.zeros(len(self.codes), dtype=bool)
        values = np.append(np.round(divergence, DECIMALS), 0.0)  # the place -1: all rows diverge by 0
        for attribute in range(self.codes.shape[1]):
            rows, smaller = self.without(attribute)
            rows, smaller = rows[smaller != MISSING], smaller[smaller != MISSING]
            found[rows] |= np.abs(values[rows] - values[smaller]) <= threshold
        return found

    def contributions(self, codes: NDArray[np.int32], divergence: NDArray[np.float64]) -> dict[int, float]:
        """Return the Shapley value of each attribute with a value in one combination; they sum to its divergence."""
        players = np.flatnonzero(codes >= 0)
        n = len(players)
        subsets = [subset for size in range(n + 1) for subset in combinations(range(n), size)]
        asked = np.full((len(subsets), len(codes)), -1, dtype=np.int32)
        for row, subset in enumerate(subsets):
            asked[row, players[list(subset)]] = codes[players[list(subset)]]
        places = self.place(asked)
        if (places == MISSING).any():
            raise KeyError("a smaller combination is missing")
        worth = dict(zip(subsets, np.append(divergence, 0.0)[places].tolist(), strict=True))
        values = dict.fromkeys(range(n), 0.0)
        for subset in subsets:
            weight = factorial(len(subset)) * factorial(n - len(subset) - 1) / factorial(n) if len(subset) < n else 0.0
            for player in set(range(n)) - set(subset):
                values[player] += weight * (worth[tuple(sorted((*subset, player)))] - worth[subset])
        return {int(players[player]): value for player, value in values.items()}

    def global_contributions(self, divergence: NDArray[np.float64]) -> dict[tuple[int, int], float]:
        """Return the global divergence of each (attribute, code), averaged over all combinations it stands in."""
        alone = (self.codes >= 0).sum(axis=1) == 1
        sizes = np.array(
            [max(1, len(np.unique(column[alone & (column >= 0)]))) for column in self.codes.T], dtype=float
        )
        length = (self.codes >= 0).sum(axis=1)
        width = int((self.codes[alone] >= 0).any(axis=0).sum())  # attributes with a frequent value
        weight = np.array(
            [0.0] + [factorial(n - 1) * factorial(width - n) / factorial(width) for n in range(1, width + 1)]
        )
        share = weight[length] / np.where(self.codes >= 0, sizes, 1.0).prod(axis=1)
        values = np.append(divergence, 0.0)
        found = {}
        for attribute in range(self.codes.shape[1]):
            rows, smaller = self.without(attribute)
            gain = share[rows] * (values[rows] - values[smaller])
            for code in np.unique(self.codes[rows, attribute]):
                found[attribute, int(code)] = float(np.nansum(gain[self.codes[rows, attribute] == code]))
        return found
