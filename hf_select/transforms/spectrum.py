"""What the spectrum of a clip tells: how far the voice stands above the noise, how high it reaches, how flat it is."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Spectrum", "measure_spectrum"]

FRAME = 0.032  # seconds of a frame, Hann window, half of it from one to the next
LOWEST = 100.0  # Hz: below lie offset and hum
NOISE_SHARE = 0.1  # the quietest tenth of the frames is noise
WORST_SNR = 1e-3  # speech that can't be told from noise: -30 dB
BAND_FLOOR = 1e-6  # 60 dB below the spectrum's peak the band ends
ROUNDING = 1 / (12 * 32768**2)  # power of the noise of rounding to 16 bits
OVER_ROUNDING = 4  # what stands 6 dB above that noise is there
BLOCK = 256  # frames worked on together, so that they stay in the processor's cache


class Spectrum(NamedTuple):
    """The measures of one clip; None where it is too short, or too quiet, to have one."""

    snr_db: float | None
    bandwidth_hz: float | None
    flatness: float


@lru_cache(maxsize=32)
def tables(rate: int) -> tuple[NDArray[np.float32], int, float]:
    """Return the window, the first bin that counts, and the power in a bin of the noise of rounding; `rate` in Hz."""
    import scipy.fft

    n_fft = scipy.fft.next_fast_len(round(FRAME * rate), real=True)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    return window.astype(np.float32), math.ceil(LOWEST * n_fft / rate), ROUNDING * float((window**2).sum())


def measure_spectrum(samples: NDArray[np.float32], rate: int, below_db: float) -> Spectrum:
    """Measure one clip, mono, not empty, from 100 Hz up; `rate` in Hz, at least 1000.

    Args:
        samples: full scale is 1.
        rate: Hz.
        below_db: frames so many decibels below the mean power are silence, and left out of the flatness.
    """
    window, first, rounding = tables(rate)
    power, evenness, mean = _frames(samples, window, first, rounding)
    loud = power >= power.mean() * 10 ** (-below_db / 10)
    return Spectrum(
        snr_db=_snr(power, rounding * len(mean)),
        bandwidth_hz=_bandwidth(mean, rounding, first, rate / len(window)),
        flatness=min(1.0, float(evenness[loud].mean())),
    )


def _frames(
    samples: NDArray[np.float32], window: NDArray[np.float32], first: int, rounding: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return power and flatness of each frame, and the mean power of each bin from `first` on."""
    import scipy.fft

    size, hop = len(window), len(window) // 2
    samples = np.ascontiguousarray(samples if len(samples) >= size else np.pad(samples, (0, size - len(samples))))
    count = 1 + (len(samples) - size) // hop
    framed = np.ndarray((count, size), np.float32, samples, strides=(4 * hop, 4))
    power, evenness = np.empty(count), np.empty(count)
    total = np.zeros(size // 2 + 1 - first)
    for start in range(0, count, BLOCK):
        spectrum = scipy.fft.rfft(framed[start : start + BLOCK] * window)[:, first:]
        squares = spectrum.real**2 + spectrum.imag**2
        total += squares.sum(axis=0, dtype=np.float64)
        power[start : start + BLOCK] = squares.sum(axis=1)
        np.maximum(squares, np.float32(rounding), out=squares)  # 16 bits hold no less, and 0 has no logarithm
        evenness[start : start + BLOCK] = np.exp(np.log(squares).mean(axis=1)) / squares.mean(axis=1)
    return power, evenness, total / count


def _snr(power: NDArray[np.float64], rounding: float) -> float | None:
    """Compare the mean frame with the quietest tenth; frames of digital silence tell nothing about the noise."""
    heard = power[power > rounding / 2]
    quiet = int(NOISE_SHARE * len(heard))
    if not quiet:
        return None
    noise = max(float(np.partition(heard, quiet)[quiet]), rounding)
    return 10 * math.log10(max(float(heard.mean()) / noise - 1, WORST_SNR))


def _bandwidth(mean: NDArray[np.float64], rounding: float, first: int, hertz: float) -> float | None:
    """Return the highest frequency with energy, after the mean over three bins; the noise of rounding is none."""
    smooth = np.convolve(mean, np.full(3, 1 / 3), "same")
    there = np.flatnonzero(smooth > max(float(smooth.max()) * BAND_FLOOR, OVER_ROUNDING * rounding))
    return float((first + there[-1]) * hertz) if len(there) else None
