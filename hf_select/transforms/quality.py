"""AudioQuality: what each clip is as sound, measured in one decode: length, level, clipping, and a digest of the samples."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hf_select.transforms.clips import config_state, file_stamps, read_clips, restore_config, status_text

if TYPE_CHECKING:
    from datasets import Features

    from hf_select.audio import Clip

__all__ = ["AudioQuality", "clipped_share_of", "quantise"]

FULL_SCALE = 1 << 15  # 16 bits, whatever the container holds
# What counts as clipping is our choice. Speech reaches its own extreme once or twice, and comes near it more often; where it is the
# other way round, at full scale, something ran into its end. The samples need not be neighbours: lossy coding after the
# clipping leaves single ones.
CLIP_LEVEL = 0.99 * FULL_SCALE
CLIP_TOUCHES = 3  # samples at the extreme, at least
CLIP_NEAR = 16  # and more of them than in as many steps before it
BLOCK = 1 << 16  # samples measured at a time, so that they stay in the processor's cache

KINDS = {
    "seconds": "float64",
    "declared_seconds": "float64",
    "rate_hz": "int32",
    "channels": "int32",
    "peak": "float64",
    "clipped_share": "float64",
    "rms_dbfs": "float64",
    "digest": "string",
}


@dataclass(frozen=True)
class AudioQuality:
    """Measure every clip as sound, in one decode at its own sampling rate.

    Reads: `column`, an Audio column (bytes and path, decoded arrays, or torchcodec decoders). Channels are averaged first.

    The new columns, with the default prefix:

    - `audio_seconds`: decoded length.
    - `audio_declared_seconds`: the length that the container declares; null if it declares none.
    - `audio_rate_hz`, `audio_channels`: of the container.
    - `audio_peak`: largest magnitude; 1 is full scale, which float, MP3 and Ogg files may exceed.
    - `audio_clipped_share`: share of samples, 0 to 1, that stand at the clip's own maximum or at its own minimum, in 16 bits,
      where that is at 0.99 of full scale or beyond, three samples or more stand there, and more than in the 16 steps before
      it together (limits that we chose). A clip that was turned down, or resampled, after it was clipped shows none; a
      test tone at full scale whose period is a whole number of samples shows some.
    - `audio_rms_dbfs`: root mean square in dB; 0 is a square wave at full scale, a sine there has -3.01.
    - `audio_digest`: 32 hex digits, the same for identical sound: the same sampling rate and, after rounding to 16 bits, the same
      samples from the first to the last, silence at the ends included. A copy as WAV, FLAC, 24 bits, in two equal channels or
      under another name has the same digest; one that went through MP3, a resampler, a gain or a cut has not.

    Declared length, rate and channels are given wherever they are known, the others where the clip can be used.

    Args:
        column: the Audio column.
        prefix: what the names of the new columns start with, so that a dataset may have its own `seconds` or `peak`.
        audio_root: folder that relative paths start from and that paths may not leave.
        max_seconds: clips longer than this (in seconds, more than 0) are not read: status `too_long`.
        status_column: name of the column with "ok" or "code: detail"; None to leave it out. It has no prefix: the audio
            transforms share it.

    Returns:
        Called with a batch: a dict of the new columns, one value a row.

    Raises:
        ColumnError: when there is no `column`. A bad clip raises nothing: it has a status.

    Relations: `hf_select.check.check` sums these columns up for a whole dataset. `Duration` measures the length alone.

    >>> tone = {"array": 0.5 * np.sin(np.arange(16000) * 2 * np.pi / 16), "sampling_rate": 16000}
    >>> found = AudioQuality()({"audio": [tone, None]})
    >>> found["audio_seconds"], found["audio_clipped_share"], [x and round(x, 2) for x in found["audio_rms_dbfs"]]
    ([1.0, None], [0.0, None], [-9.03, None])
    """

    column: str = "audio"
    prefix: str = "audio_"
    audio_root: str | Path | None = None
    max_seconds: float = 600.0
    status_column: str | None = "audio_status"

    revision: ClassVar[int] = 1  # raised whenever the output changes, so that no cache serves old numbers

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Return the new columns of one batch."""
        columns: dict[str, list[Any]] = {self.prefix + name: [] for name in KINDS}
        statuses: list[str] = []
        for clip in read_clips(batch, self.column, audio_root=self.audio_root, max_seconds=self.max_seconds):
            for values, value in zip(columns.values(), _measure(clip), strict=True):
                values.append(value)
            statuses.append(status_text(clip))
        if self.status_column:
            columns[self.status_column] = statuses
        return columns

    @property
    def features(self) -> Features:
        """Name and type of every new column, for `Dataset.map(..., features=...)`."""
        from datasets import Features, Value

        columns = {self.prefix + name: Value(kind) for name, kind in KINDS.items()}
        if self.status_column:
            columns[self.status_column] = Value("string")
        return Features(columns)

    def depends_on(self, ds: Any) -> list[str]:
        """Return what the values depend on besides the rows: size and time of the files that rows name."""
        return file_stamps(ds, self.column, self.audio_root)

    def __getstate__(self) -> dict[str, Any]:
        """Return the configuration, which is all that the fingerprint may depend on."""
        return config_state(self)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Restore the configuration."""
        restore_config(self, state)


def _measure(clip: Clip) -> tuple[Any, ...]:
    """Return the values of one clip in the order of `KINDS`."""
    container = (clip.declared, clip.source_rate or None, clip.channels or None)
    if not clip.ok:
        return (None, *container, None, None, None, None)
    steps, energy = quantise(clip.samples)
    peak = max(float(clip.samples.max()), -float(clip.samples.min()))
    rms = 10 * math.log10(energy / len(steps))
    return (clip.duration, *container, peak, clipped_share_of(steps), rms, _digest(steps, clip.sampling_rate))


def quantise(samples: NDArray[np.float32]) -> tuple[NDArray[np.int16], float]:
    """Return the samples as they would stand in 16 bits, and the sum of their squares before that."""
    steps = np.empty(len(samples), dtype="<i2")
    energy = 0.0
    for start in range(0, len(samples), BLOCK):
        block = samples[start : start + BLOCK]
        energy += float(np.square(block, dtype=np.float64).sum())
        scaled = np.rint(block * np.float32(FULL_SCALE))
        steps[start : start + BLOCK] = np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1, out=scaled)
    return steps, energy


def clipped_share_of(steps: NDArray[np.int16]) -> float:
    """Return the share of samples that pile up at full scale."""
    clipped = 0
    for extreme, sign in ((int(steps.max()), 1), (int(steps.min()), -1)):
        if extreme * sign >= CLIP_LEVEL:
            near = steps >= extreme - CLIP_NEAR if sign > 0 else steps <= extreme + CLIP_NEAR
            touches = int(np.count_nonzero(steps == extreme))
            if touches >= CLIP_TOUCHES and 2 * touches > np.count_nonzero(near):
                clipped += touches
    return clipped / len(steps)


def _digest(steps: NDArray[np.int16], rate: int) -> str:
    digest = hashlib.blake2b(rate.to_bytes(4, "little"), digest_size=16)
    digest.update(steps.data)
    return digest.hexdigest()
