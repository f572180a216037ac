"""The pitch of a voice, frame by frame: the period after which the sound comes again (normalised autocorrelation).

Boersma's method (1993) without his path through the frames: window, autocorrelation divided by that of the window, best peak
at a small cost per octave of period. Errors of an octave are met by a second pass between limits that the first one's
quartiles set (De Looze and Hirst, 2008). All frames of a clip at once, at any sampling rate: the power spectrum is cut to
the first harmonics, and its way back gives the autocorrelation at 8000 lags a second.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["HIGHEST", "LOWEST", "track_pitch"]

LOWEST, HIGHEST = 50.0, 500.0  # Hz
FRAME, HOP = 0.05, 0.01  # seconds: two and a half of the longest periods; Praat's default at 60 Hz
BAND = (40.0, 1500.0)  # Hz: no offset, and few of the harmonics, since the high ones fall apart when the pitch moves
LAG_RATE = 8000  # lags a second; a parabola is laid between them
VOICED = 0.55  # a frame is voiced if so much of it comes again one period later
QUIET = 3e-3  # and if it has this share of the loudest frame's power: 25 dB below it
SURE = 0.75  # frames of which so much comes again tell where the voice lies
OCTAVE_COST = 0.08  # for each octave of a longer period, since two periods fit as well as one
MARGINS = (0.75, 1.5)  # the second pass goes from 0.75 x their lower quartile to 1.5 x the upper
BLOCK = 256  # frames worked on together, so that they stay in the processor's cache


class Tables(NamedTuple):
    """What depends on the sampling rate alone: sizes in samples, the lags (in steps of `step` seconds) and their weights."""

    frame: int
    hop: int
    n_fft: int
    n_lags: int
    band: slice
    step: float
    window: NDArray[np.float32]
    lags: slice
    gain: NDArray[np.float32]
    cost: NDArray[np.float32]
    hertz: NDArray[np.float64]


@lru_cache(maxsize=32)
def tables(rate: int) -> Tables:
    """Lay out frames, lags and weights for a sampling rate in Hz."""
    import scipy.fft

    frame, hop = round(FRAME * rate), round(HOP * rate)
    n_fft = scipy.fft.next_fast_len(frame + math.ceil(rate / LOWEST) + 2, real=True)  # no lag runs round the end
    n_lags = scipy.fft.next_fast_len(round(LAG_RATE * n_fft / rate), real=True)
    step = n_fft / n_lags / rate
    first, last = math.floor(1 / HIGHEST / step), math.ceil(1 / LOWEST / step)
    lags = np.arange(first, last + 1)
    window = np.hanning(frame + 2)[1:-1]
    own = np.fft.irfft(np.abs(np.fft.rfft(window, n_fft)) ** 2, n_fft)  # the window's own autocorrelation
    own = np.interp(lags * n_fft / n_lags, np.arange(n_fft), own / own[0])
    low, high = (min(round(hertz * n_fft / rate), n_fft // 2, n_lags // 2) for hertz in BAND)
    return Tables(
        frame=frame,
        hop=hop,
        n_fft=n_fft,
        n_lags=n_lags,
        band=slice(low, high + 1),
        step=step,
        window=window.astype(np.float32),
        lags=slice(first, last + 1),
        gain=(1 / own).astype(np.float32),
        cost=(OCTAVE_COST * np.log2(lags * step * LOWEST)).astype(np.float32),
        hertz=1 / (lags * step),
    )


def track_pitch(samples: NDArray[np.float32], rate: int) -> tuple[NDArray[np.float64], int]:
    """Return the pitch in Hz of each voiced frame, in order, and the number of all frames, one each 10 ms.

    Args:
        samples: one clip, mono; shorter than 50 ms it has no frame.
        rate: Hz, at least 1000.
    """
    t = tables(rate)
    if len(samples) < t.frame:
        return np.zeros(0), 0
    alike, power = _autocorrelate(samples, t)
    loud = power > QUIET * power.max()
    hertz, height = _best_peak(alike, t, LOWEST, HIGHEST)
    sure = loud & (height >= SURE)
    if sure.any():
        low, high = quantiles(hertz[sure], 0.25, 0.75)
        hertz, height = _best_peak(alike, t, MARGINS[0] * low, MARGINS[1] * high)
    voiced = loud & (height >= VOICED)
    return hertz[voiced], len(alike)


def quantiles(values: NDArray[np.float64], *shares: float) -> list[float]:
    """Return quantiles of a few numbers, straight lines between them: `np.quantile` in a twentieth of its time."""
    ordered = np.sort(values)
    return [float(x) for x in np.interp(np.array(shares) * (len(ordered) - 1), np.arange(len(ordered)), ordered)]


def _autocorrelate(samples: NDArray[np.float32], t: Tables) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return, for each frame, how much of it comes again after each lag (1: all), and its power in the band."""
    import scipy.fft

    samples = np.ascontiguousarray(samples)
    count = 1 + (len(samples) - t.frame) // t.hop
    framed = np.ndarray((count, t.frame), np.float32, samples, strides=(4 * t.hop, 4))
    alike = np.empty((count, t.lags.stop - t.lags.start), np.float32)
    power = np.empty(count, np.float32)
    for start in range(0, count, BLOCK):
        spectrum = scipy.fft.rfft(framed[start : start + BLOCK] * t.window, t.n_fft)[:, t.band]
        squares = np.zeros((len(spectrum), t.n_lags // 2 + 1), np.float32)
        squares[:, t.band] = spectrum.real**2 + spectrum.imag**2
        again = scipy.fft.irfft(squares, t.n_lags)
        power[start : start + BLOCK] = again[:, 0]
        weight = t.gain / np.maximum(again[:, :1], np.finfo(np.float32).tiny)
        np.multiply(again[:, t.lags], weight, out=alike[start : start + BLOCK])
    return alike, power


def _best_peak(
    alike: NDArray[np.float32], t: Tables, low: float, high: float
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return the pitch of each frame between two limits in Hz, and the height of its peak; 0 where there is no peak."""
    first, last = np.searchsorted(-t.hertz, [-min(high, HIGHEST), -max(low, LOWEST)])  # as hertz falls
    first, last = max(int(first), 1), min(int(last), len(t.hertz) - 1)
    middle = alike[:, first:last]
    before, after = alike[:, first - 1 : last - 1], alike[:, first + 1 : last + 1]
    score = np.where((middle >= before) & (middle > after), middle - t.cost[first:last], -np.inf)
    rows, best = np.arange(len(alike)), score.argmax(axis=1)
    a, b, c = before[rows, best], middle[rows, best], after[rows, best]
    peak = np.isfinite(score[rows, best])
    curve = np.where(peak, a - 2 * b + c, -1)
    shift = 0.5 * (a - c) / curve
    hertz = 1 / ((t.lags.start + first + best + shift.astype(np.float64)) * t.step)
    return hertz, np.where(peak, b - 0.25 * (a - c) * shift, 0)
