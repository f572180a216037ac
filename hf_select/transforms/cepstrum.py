"""Mel-frequency cepstra of many clips at once: arrays in, arrays out, on numpy, torch or torchaudio.

Clips of different lengths are laid on one tape, on a common grid of hops, and the work is done per frame;
only the peak that `top_db` is measured from belongs to a clip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from hf_select.errors import ArgumentError, MissingPackageError

__all__ = ["BACKENDS", "Recipe", "cepstra", "cepstral_statistics"]

BLOCK = 128  # frames worked on together: always exactly so many, so that a frame's value is its own
TORCH_FRAMES = 1 << 14  # frames per torch.stft call: bounds the memory of one clip of any length
AMIN = 1e-10  # librosa's floor under a power before the logarithm


@dataclass(frozen=True)
class Recipe:
    """The numbers that define an MFCC (see `hf_select.transforms.mfcc.MFCC`), checked."""

    sampling_rate: int
    n_mfcc: int
    n_fft: int
    win_length: int
    hop_length: int
    n_mels: int
    fmin: float
    fmax: float | None
    window: str | tuple[Any, ...]
    center: bool
    preemphasis: float | None
    top_db: float | None
    lifter: float

    def __post_init__(self) -> None:
        """Refuse what has no meaning, with the two numbers that clash."""
        for name in ("sampling_rate", "n_mfcc", "n_fft", "win_length", "hop_length", "n_mels"):
            if not isinstance(value := getattr(self, name), int) or value < 1:
                raise ArgumentError(f"{name} must be a whole number of at least 1, and is {value!r}.")
        if self.n_mfcc > self.n_mels:
            raise ArgumentError(
                f"n_mfcc must be at most n_mels: {self.n_mfcc} coefficients can't come from {self.n_mels} mel bands."
            )
        if self.win_length > self.n_fft:
            raise ArgumentError(
                f"win_length must be at most n_fft: a window of {self.win_length} samples does not fit in {self.n_fft}."
            )
        top = self.sampling_rate / 2 if self.fmax is None else self.fmax
        if not 0 <= self.fmin < top <= self.sampling_rate / 2:
            raise ArgumentError(
                f"0 <= fmin < fmax <= sampling_rate / 2 must hold, in Hz, and fmin={self.fmin}, fmax={top}, "
                f"sampling_rate={self.sampling_rate}."
            )
        if self.preemphasis is not None and not 0 < self.preemphasis <= 1:
            raise ArgumentError(
                f"preemphasis must be above 0 and at most 1 (0.97 is usual), or None, and is {self.preemphasis!r}."
            )
        if not isinstance(self.window, str | tuple):
            raise ArgumentError(f"window must be a name or a tuple of a name and its numbers, and is {self.window!r}.")
        if self.top_db is not None and self.top_db < 0:
            raise ArgumentError(f"top_db must be at least 0 decibels, or None for no limit, and is {self.top_db!r}.")
        if self.lifter < 0:
            raise ArgumentError(f"lifter must be at least 0 (0 is none), and is {self.lifter!r}.")


class Tables(NamedTuple):
    """What no clip changes: window (n_fft), mel (n_mels, n_fft // 2 + 1), dct (n_mels, n_mfcc), lift (n_mfcc)."""

    window: np.ndarray
    mel: np.ndarray
    dct: np.ndarray
    lift: np.ndarray


@lru_cache(maxsize=32)
def tables(recipe: Recipe) -> Tables:
    """Make the window and filters with librosa, the cosines with scipy; once per recipe and process."""
    import librosa
    import scipy.fft

    r = recipe
    window = librosa.filters.get_window(r.window, r.win_length, fftbins=True)
    window = librosa.util.pad_center(np.asarray(window, np.float64), size=r.n_fft)
    mel = librosa.filters.mel(sr=r.sampling_rate, n_fft=r.n_fft, n_mels=r.n_mels, fmin=r.fmin, fmax=r.fmax)
    lift = np.ones(r.n_mfcc)
    if r.lifter:
        lift += r.lifter / 2 * np.sin(np.pi * np.arange(1, 1 + r.n_mfcc) / r.lifter)
    dct = scipy.fft.dct(np.eye(r.n_mels), norm="ortho", axis=0)[: r.n_mfcc].T * lift
    return Tables(window, mel.astype(np.float32), np.ascontiguousarray(dct, np.float32), lift.astype(np.float32))


@lru_cache(maxsize=32)
def sparse_mel(recipe: Recipe) -> Any:
    """Return the mel filters without their zeros, which are most of them."""
    from scipy.sparse import csr_array

    return csr_array(tables(recipe).mel)


class Tape(NamedTuple):
    """Clips end to end: samples, the position (in hops) of each wanted frame, the number of frames of each clip."""

    samples: np.ndarray
    frames: np.ndarray
    counts: np.ndarray


def lay_out(signals: Sequence[np.ndarray], recipe: Recipe) -> Tape:
    """Lay clips on one tape, each in a slot of its own, padded with zeros as librosa does (a short clip: one frame)."""
    n_fft, hop = recipe.n_fft, recipe.hop_length
    pad = n_fft // 2 if recipe.center else 0
    lengths = np.array([len(signal) for signal in signals])
    counts = 1 + np.maximum(lengths + 2 * pad - n_fft, 0) // hop
    slots = counts - 1 + -(-n_fft // hop)  # hops from one clip to the next: no frame reaches into a neighbour
    starts = np.cumsum(slots) - slots
    samples = np.zeros((slots.sum() + BLOCK) * hop + n_fft, np.float32)  # room for a whole number of blocks
    for signal, start, count in zip(signals, starts * hop, counts, strict=True):
        seen = signal[: (count - 1) * hop + n_fft - pad]  # librosa too leaves out what follows the last frame
        samples[start + pad : start + pad + len(seen)] = seen
    frames = np.arange(counts.sum()) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
    return Tape(samples, frames, counts)


def emphasize(signal: np.ndarray, coefficient: float | None) -> np.ndarray:
    """Return y[t] - coefficient * y[t - 1]; to the first sample 2 y[0] - y[1] is added, as `librosa.effects` does."""
    if coefficient is None:
        return signal
    result = signal.astype(np.float32)
    result[1:] -= np.float32(coefficient) * signal[:-1]
    result[:1] += 2 * signal[:1] - (signal[1:2] if len(signal) > 1 else signal[:1])
    return result


def cepstra(
    signals: Sequence[np.ndarray], recipe: Recipe, backend: str = "numpy", device: str | None = None
) -> list[np.ndarray]:
    """Return the MFCC of each signal, (frames, n_mfcc) float32; signals are one-dimensional and not empty."""
    if not signals:
        return []
    return BACKENDS[backend]([emphasize(signal, recipe.preemphasis) for signal in signals], recipe, device)


def numpy_cepstra(signals: Sequence[np.ndarray], recipe: Recipe, device: str | None = None) -> list[np.ndarray]:
    """Work in blocks of exactly `BLOCK` frames, so that a frame's value is the same to the bit in any company.

    For the same reason there is no dense matrix product here: BLAS sums a row differently at different places in a
    block. The spectrum is made in float64, as librosa's is: in float32 quiet bands beside loud ones are off by up to
    3e-3.
    """
    import scipy.fft

    window, mel, lift = tables(recipe).window, sparse_mel(recipe), tables(recipe).lift
    samples, frames, counts = lay_out(signals, recipe)
    framed = np.lib.stride_tricks.sliding_window_view(samples, recipe.n_fft)[:: recipe.hop_length]
    end = int(frames[-1]) + 1  # the few frames between clips are worked on too, and left out afterwards
    levels = np.empty((end + BLOCK, recipe.n_mels), np.float32)
    windowed = np.empty((BLOCK, recipe.n_fft))
    spectrum = np.empty((BLOCK, recipe.n_fft // 2 + 1), np.complex128)
    power = np.empty(spectrum.shape, np.float32)
    parts = spectrum.view(np.float64)  # real, imaginary, real, imaginary, ...
    for block in range(0, end, BLOCK):
        np.multiply(framed[block : block + BLOCK], window, out=windowed)
        np.fft.rfft(windowed, out=spectrum)
        np.multiply(parts, parts, out=parts)
        np.add(parts[:, ::2], parts[:, 1::2], out=power, casting="same_kind")
        levels[block : block + BLOCK] = (mel @ power.T).T
    levels = levels[frames]
    np.maximum(levels, AMIN, out=levels)
    np.log10(levels, out=levels)
    levels *= 10
    if recipe.top_db is not None:
        peaks = np.maximum.reduceat(levels.max(axis=1), np.cumsum(counts) - counts)
        np.maximum(levels, np.repeat(peaks - np.float32(recipe.top_db), counts)[:, None], out=levels)
    result = scipy.fft.dct(levels, norm="ortho")[:, : recipe.n_mfcc] * lift
    return np.split(result, np.cumsum(counts)[:-1])


def torch_cepstra(signals: Sequence[np.ndarray], recipe: Recipe, device: str | None = None) -> list[np.ndarray]:
    """Do the same by torch.stft over the tape, on `device`; agrees with numpy within 1e-3, not to the bit."""
    import torch

    exact = torch.float32 if str(device).startswith("mps") else torch.float64  # mps has no float64
    window, mel, dct = (torch.from_numpy(table).to(device or "cpu") for table in tables(recipe)[:3])
    tape = lay_out(signals, recipe)
    samples, frames = torch.from_numpy(tape.samples).to(window.device), torch.from_numpy(tape.frames).to(window.device)
    hop, grid = recipe.hop_length, int(tape.frames[-1]) + 1
    pieces = []
    for first in range(0, grid, TORCH_FRAMES):
        last = min(first + TORCH_FRAMES, grid)
        piece = samples[first * hop : (last - 1) * hop + recipe.n_fft].to(exact)
        spectrum = torch.stft(piece, recipe.n_fft, hop, window=window.to(exact), center=False, return_complex=True)
        pieces.append((spectrum.real.square() + spectrum.imag.square()).float().T @ mel.T)
    levels = 10 * torch.cat(pieces)[frames].clamp(min=AMIN).log10()
    if recipe.top_db is not None:
        clips = torch.repeat_interleave(torch.from_numpy(tape.counts).to(window.device))
        peaks = torch.full((len(signals),), -torch.inf, device=window.device)
        peaks.scatter_reduce_(0, clips, levels.amax(1), "amax")
        levels = torch.maximum(levels, (peaks - recipe.top_db)[clips, None])
    result = (levels.to(exact) @ dct.to(exact)).float().cpu().numpy()
    return np.split(result, np.cumsum(tape.counts)[:-1])


def torchaudio_cepstra(signals: Sequence[np.ndarray], recipe: Recipe, device: str | None = None) -> list[np.ndarray]:
    """Do the same clip by clip with torchaudio's spectrogram and decibels; agrees with numpy within 1e-3.

    Its own mel filters are left aside: for an odd `n_fft` or sampling rate they are not librosa's in any setting.
    """
    import torch

    torchaudio = import_torchaudio()
    exact = torch.float32 if str(device).startswith("mps") else torch.float64
    window, mel, dct = (torch.from_numpy(table).to(device or "cpu") for table in tables(recipe)[:3])
    spectrogram = torchaudio.transforms.Spectrogram(
        recipe.n_fft,
        hop_length=recipe.hop_length,
        window_fn=lambda _: window,  # already padded to n_fft
        center=recipe.center,
        pad_mode="constant",
    ).to(window.device, exact)
    result = []
    for signal in signals:
        samples = torch.zeros(max(len(signal), 1 if recipe.center else recipe.n_fft), device=window.device, dtype=exact)
        samples[: len(signal)] = torch.from_numpy(np.ascontiguousarray(signal))
        power = mel @ spectrogram(samples).float()
        levels = torchaudio.functional.amplitude_to_DB(power, 10.0, AMIN, 0.0, recipe.top_db)
        result.append((levels.T.to(exact) @ dct.to(exact)).float().cpu().numpy())
    return result


def import_torchaudio() -> Any:
    """Import torchaudio, or say how to get one that works: a build for another torch fails in many ways."""
    try:
        import torchaudio
        import torchaudio.functional
        import torchaudio.transforms
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise MissingPackageError(
            f'backend="torchaudio" needs a torchaudio that loads; importing it gave {type(error).__name__}: {error}. '
            'Run: pip install "hf-select[torchaudio]" (it chooses a torch that fits), or use backend="numpy": its '
            "numbers are the same."
        ) from error
    return torchaudio


BACKENDS: dict[str, Callable[[Sequence[np.ndarray], Recipe, str | None], list[np.ndarray]]] = {
    "numpy": numpy_cepstra,
    "torch": torch_cepstra,
    "torchaudio": torchaudio_cepstra,
}


def cepstral_statistics(frames: np.ndarray) -> np.ndarray:
    """Return mean, standard deviation and standard deviation of the deltas of each coefficient: (3 * n_mfcc,) float32.

    Deltas are the regression slope over two frames to each side, the first and last frame repeated at the ends;
    so one frame has deviations of 0.
    """
    values = frames.astype(np.float64)
    padded = np.pad(values, ((2, 2), (0, 0)), mode="edge")
    deltas = (2 * (padded[4:] - padded[:-4]) + padded[3:-1] - padded[1:-3]) / 10
    return np.concatenate([values.mean(0), values.std(0), deltas.std(0)]).astype(np.float32)
