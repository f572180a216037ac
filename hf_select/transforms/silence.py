"""Silence relative to a clip's own level: the rule of `pydub.silence.detect_silence`, to the millisecond, without its loop.

A stretch of `min_ms` is silent if its root mean square is at most the clip's own, less `below_db`. Every stretch is tried, one
for each millisecond; silent ones that overlap or touch are one range. All in whole numbers, as pydub has them: samples of
16 bits, root mean squares rounded down, milliseconds that begin at a whole sample.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["FULL_SCALE", "Energy", "measure_energy", "silent_ranges"]

FULL_SCALE = 1 << 15  # 16 bits


class Energy(NamedTuple):
    """Where the energy of a clip is, to the millisecond.

    Attributes:
        sums: (milliseconds + 1,) int64: the squares of all samples before a millisecond, summed.
        frames: (milliseconds + 1,) int64: the sample that a millisecond begins with; the last may lie behind the end.
        rms: root mean square of the whole clip in steps of 16 bits, rounded down.
    """

    sums: NDArray[np.int64]
    frames: NDArray[np.int64]
    rms: int

    @property
    def milliseconds(self) -> int:
        """Length of the clip, rounded."""
        return len(self.sums) - 1


def measure_energy(steps: NDArray[np.int16], rate: int) -> Energy:
    """Sum the squares of the samples, at least one, up to each millisecond; `rate` in Hz, at least 1000."""
    length = round(1000 * (len(steps) / rate))
    frames = (np.arange(length + 1) * (rate / 1000.0)).astype(np.int64)
    squares = np.square(steps, dtype=np.int32)  # at most 2 ** 30
    sums = np.zeros(length + 1, np.int64)
    if length:
        np.add.reduceat(squares[: frames[-1]], frames[:-1], dtype=np.int64, out=sums[1:])
        np.cumsum(sums, out=sums)
    rest = int(squares[frames[-1] :].sum(dtype=np.int64))
    return Energy(sums, frames, math.isqrt((int(sums[-1]) + rest) // len(steps)))


def silent_ranges(energy: Energy, min_ms: int, below_db: float) -> NDArray[np.int64]:
    """Return the silent ranges, (n, 2): begin and end in milliseconds, in order, apart by at least one.

    Equal to `pydub.silence.detect_silence(clip, min_ms, clip.dBFS - below_db, seek_step=1)` of a mono clip of 16 bits.

    Args:
        energy: of the clip.
        min_ms: length of the shortest silence in milliseconds, at least 1.
        below_db: how many decibels below the clip's own level silence begins.
    """
    if energy.milliseconds < min_ms:
        return np.zeros((0, 2), np.int64)
    limit = 0.0
    if energy.rms:  # by the same steps as pydub goes, so that it is rounded in the same way
        limit = 10 ** ((20 * math.log(energy.rms / FULL_SCALE, 10) - below_db) / 20) * FULL_SCALE
    sums, frames = energy.sums, energy.frames
    # root mean square, rounded down, <= limit: the same without roots and fractions
    loudest = (math.floor(limit) + 1) ** 2
    silent = sums[min_ms:] - sums[:-min_ms] < (frames[min_ms:] - frames[:-min_ms]) * loudest
    starts = np.flatnonzero(silent)
    if not len(starts):
        return np.zeros((0, 2), np.int64)
    gaps = np.flatnonzero(np.diff(starts) > min_ms)
    first = starts[np.concatenate([[0], gaps + 1])]
    last = starts[np.concatenate([gaps, [-1]])]
    return np.stack([first, last + min_ms], axis=1)
