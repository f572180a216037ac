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
    def of(cls, columns: Sequence[NDArray[np.int32]], wanted: Sequence[NDArray[np.int64]]) -> BitSets:
        """Pack columns of codes: of each the codes that are wanted, ascending."""
        sets = [pack(column == code) for column, codes in zip(columns, wanted, strict=True) for code in codes]
        attribute = np.repeat(np.arange(len(wanted)), [len(codes) for codes in wanted])
        code = np.concatenate([*wanted, np.zeros(0, np.int64)]).astype(np.int64)
        words = np.stack(sets) if sets else np.zeros((0, 1), np.uint64)
        return cls(words, attribute.astype(np.int64), code)

    def place(self) -> dict[tuple[int, int], int]:
        """Return where the item of each (attribute, code) stands."""
        return {pair: item for item, pair in enumerate(zip(self.attribute.tolist(), self.code.tolist(), strict=True))}

    def digest(self, codes: NDArray[np.int32]) -> bytes:
        """Return a digest of the rows that have these codes (one per attribute, -1 = any): equal rows, equal digests."""
        place = self.place()
        items = [place[attribute, int(code)] for attribute, code in enumerate(codes) if code >= 0]
        return hashlib.blake2b(np.bitwise_and.reduce(self.words[items], axis=0).tobytes(), digest_size=16).digest()


def pack(mask: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Pack truth values into words, row 0 in the lowest bit."""
    padded = np.zeros(-(-max(len(mask), 1) // 64) * 64, dtype=bool)
    padded[: len(mask)] = mask
    return np.packbits(padded, bitorder="little").view(np.uint64)
