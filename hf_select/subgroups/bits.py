"""Sets of rows as bits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["BitSets", "pack"]


class BitSets(NamedTuple):
    """Values of attributes as sets of rows: words (items x words, uint64), the attribute and code of each item."""

    words: NDArray[np.uint64]
    attribute: NDArray[np.int64]
    code: NDArray[np.int64]

    @classmethod
    def of(cls, columns: Sequence[NDArray[np.int32]], sizes: Sequence[int]) -> BitSets:
        """Pack columns of codes (-1 = no value), with so many values each."""
        sets = [pack(column == code) for column, size in zip(columns, sizes, strict=True) for code in range(size)]
        attribute = np.repeat(np.arange(len(sizes)), sizes)
        code = np.concatenate([np.arange(size) for size in sizes] or [np.zeros(0, np.int64)])
        words = np.stack(sets) if sets else np.zeros((0, 1), np.uint64)
        return cls(words, attribute.astype(np.int64), code.astype(np.int64))

    def digest(self, codes: NDArray[np.int16]) -> bytes:
        """Return a digest of the rows that have these codes (one per attribute, -1 = any): equal rows, equal digests."""
        place = {(int(a), int(c)): item for item, (a, c) in enumerate(zip(self.attribute, self.code, strict=True))}
        items = [place[attribute, int(code)] for attribute, code in enumerate(codes) if code >= 0]
        return hashlib.blake2b(np.bitwise_and.reduce(self.words[items], axis=0).tobytes(), digest_size=16).digest()

    def some(self, items: NDArray[np.int64]) -> BitSets:
        """Return some of the items."""
        return BitSets(self.words[items], self.attribute[items], self.code[items])


def pack(mask: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Pack truth values into words, row 0 in the lowest bit."""
    padded = np.zeros(-(-max(len(mask), 1) // 64) * 64, dtype=bool)
    padded[: len(mask)] = mask
    return np.packbits(padded, bitorder="little").view(np.uint64)
