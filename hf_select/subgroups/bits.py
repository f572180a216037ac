"""Sets of rows as bits, and the few things that compiled code needs to work on them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

__all__ = ["BitSets", "lowest_bit", "num_threads", "pack", "popcount"]


@intrinsic
def popcount(typing_context: Any, word: Any) -> Any:
    """Count the bits of a word that are 1: one instruction of the processor."""
    del typing_context

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@intrinsic
def lowest_bit(typing_context: Any, word: Any) -> Any:
    """Return the place of the lowest_bit bit of a word that is not 0."""
    del typing_context

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        from llvmlite import ir

        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


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

    def some(self, items: NDArray[np.int64]) -> BitSets:
        """Return some of the items."""
        return BitSets(self.words[items], self.attribute[items], self.code[items])


def pack(mask: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Pack truth values into words, row 0 in the lowest_bit bit."""
    padded = np.zeros(-(-max(len(mask), 1) // 64) * 64, dtype=bool)
    padded[: len(mask)] = mask
    return np.packbits(padded, bitorder="little").view(np.uint64)


def num_threads() -> int:
    """Return how many threads to work with: the processors that this process may use, or OMP_NUM_THREADS of them."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(own, int(asked)) if asked.isdecimal() else own)
