"""SpeechMetadata: how each clip was spoken and recorded, in one decode: pauses, rate, level, noise, band, pitch."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hf_select.errors import ArgumentError, ColumnError
from hf_select.transforms.clips import (
    batch_column,
    config_state,
    file_stamps,
    read_clips,
    restore_config,
    status_text,
)
from hf_select.transforms.pitch import quantiles, track_pitch
from hf_select.transforms.quality import clipped_share_of, quantise
from hf_select.transforms.silence import measure_energy, silent_ranges
from hf_select.transforms.spectrum import measure_spectrum

if TYPE_CHECKING:
    from datasets import Features

    from hf_select.audio import Clip

__all__ = ["SpeechMetadata"]

TIMING = {
    "duration": "float64",
    "trimmed_duration": "float64",
    "total_silence_seconds": "float64",
    "middle_silence_seconds": "float64",
    "n_pauses": "int32",
    "n_middle_pauses": "int32",
    "mean_pause_seconds": "float64",
    "longest_pause_seconds": "float64",
    "speech_ratio": "float64",
}
SOUND = {
    "rms_dbfs": "float64",
    "clipped_share": "float64",
    "snr_db": "float64",
    "bandwidth_hz": "float64",
    "spectral_flatness": "float64",
}
PITCH = {"f0_median_hz": "float64", "f0_iqr_semitones": "float64", "voiced_share": "float64"}
TEXT = {
    "n_words": "int32",
    "n_characters": "int32",
    "words_per_second": "float64",
    "words_per_second_trimmed": "float64",
    "seconds_per_word": "float64",
    "seconds_per_word_trimmed": "float64",
    "characters_per_second": "float64",
    "characters_per_second_trimmed": "float64",
}
MIN_VOICED = 5  # frames, 50 ms: fewer have no median


@dataclass(frozen=True)
class SpeechMetadata:
    """Measure how every clip was spoken and recorded, in one decode at its own sampling rate: attributes for subgroups.

    Reads: `column`, an Audio column (bytes and path, decoded arrays, or torchcodec decoders), channels averaged; and
    `text_column`, strings.

    The new columns. A silence is a stretch of `min_silence_ms` or more whose level (root mean square) is at least
    `silence_threshold_db` below that of the clip: with the defaults exactly what
    `pydub.silence.detect_silence(clip, 150, clip.dBFS - 16)` finds in the clip as 16-bit mono (other sources are
    rounded to that). In brackets, the name in the tables of the acquisition paper:

    - `duration`: decoded seconds (`total_duration`).
    - `trimmed_duration`: seconds without silence of `trim_silence_ms` or more at either end (`trimmed_duration`; where a
      clip does not end in silence, their code cut it at its last inner pause, and this does not).
    - `total_silence_seconds`, `middle_silence_seconds`: all silence, and what touches neither end (`total_silence`,
      `total_middle_silence`).
    - `n_pauses`, `n_middle_pauses`: their numbers, under the same names.
    - `mean_pause_seconds` (null without a pause), `longest_pause_seconds` (0 without): of all of them.
    - `speech_ratio`: share of the duration that is not silent, 0 to 1.
    - `rms_dbfs`, `clipped_share`: as `AudioQuality` defines them; 0 dB is a square wave at full scale.
    - `snr_db`: estimate of signal to noise. Noise is the quietest tenth of the frames (32 ms, above 100 Hz; frames of
      digital silence aside), signal is the mean above it; -30 at least, null under ten frames. Mixed at 0 to 20 dB,
      real clips are off by 0.4 dB in the mean with white noise, and 2 dB too high with brown. It takes steady noise and
      a clip that has pauses: without any it tells too little, and steady noise alone has about -8.
    - `bandwidth_hz`: up to where the clip's mean spectrum is within 60 dB of its peak, and above the noise of rounding to 16
      bits. About 3900 at 16 kHz is a telephone's 8 kHz, resampled.
    - `spectral_flatness`: geometric over arithmetic mean of the power spectrum from 100 Hz up, mean over the frames that
      are not silent: near 0 a tone, 0.56 white noise. It falls with the band: compare at one sampling rate.
    - `f0_median_hz`, `f0_iqr_semitones`: median pitch of the voiced frames, 50 to 500 Hz, and how far its quartiles lie apart;
      null under five frames, 50 ms. The paper has mean and deviation of Praat's (`meanF0Hz`, `stdevF0Hz`).
    - `voiced_share`: share of the 10 ms frames that are voiced, 0 to 1; null under 50 ms.

    With `text_column`, null where the text is null; the counts are given for bad clips too:

    - `n_words`: separated by white space (`n_words`). `n_characters`: without white space, composed ones counted once
      (`n_chars`, nearly); the one to use for languages that are written without spaces.
    - `words_per_second`, `words_per_second_trimmed`, `seconds_per_word` (`speed_rate_word`: high is SLOW),
      `seconds_per_word_trimmed` (`speed_rate_word_trimmed`): by whole and by trimmed duration.
    - `characters_per_second`, `characters_per_second_trimmed`: one over `speed_rate_char` and `speed_rate_char_trimmed`.

    Without words, words per second are 0 and seconds per word null; without any duration left, all rates are null.

    Args:
        column: the Audio column.
        text_column: column with what was said, such as "transcript"; None leaves out the columns that need it.
        prefix: what the names of the new columns start with, for a dataset that has its own `duration` or `n_words`.
        pitch: False leaves out the three columns of pitch, which take about half of the time.
        silence_threshold_db: decibels below the clip's own level, above 0.
        min_silence_ms: length of the shortest pause in milliseconds, at least 1.
        trim_silence_ms: the same for what is cut off at the ends.
        audio_root: folder that relative paths start from and that paths may not leave.
        max_seconds: clips longer than this (in seconds, more than 0) are not read: status `too_long`.
        status_column: name of the column with "ok" or "code: detail"; None to leave it out. It has no prefix: the audio
            transforms share it.

    Returns:
        Called with a batch: a dict of the new columns, one value a row; null where the clip can't be used.

    Raises:
        ArgumentError: at construction, for a number out of its range, or columns of one name.
        ColumnError: when there is no `column` or `text_column`, or text is no text. A bad clip raises nothing: it has a
            status.

    Reference: Koudounas et al., "Prioritizing Data Acquisition For End-to-End Speech Model Improvement" (ICASSP 2024), section
        on metadata; their code for the rule of silence. Pitch: Boersma (1993); see `hf_select.transforms.pitch`.

    Relations: `AudioQuality` describes clips as files, with a digest; `Duration` measures the length alone. The columns
    are made for `hs.find_subgroups(by=...)`.

    >>> import numpy as np
    >>> spoken = np.sin(np.arange(8000) * 2 * np.pi * 200 / 16000)
    >>> clip = {"array": np.concatenate([spoken, np.zeros(4000), spoken, np.zeros(12000)]), "sampling_rate": 16000}
    >>> found = SpeechMetadata(text_column="text")({"audio": [clip], "text": ["turn it off"]})
    >>> found["duration"], found["trimmed_duration"], found["n_pauses"], round(found["f0_median_hz"][0])
    ([2.0], [1.25], [2], 200)
    >>> found["words_per_second"], [round(x, 3) for x in found["seconds_per_word_trimmed"]]
    ([1.5], [0.417])
    """

    column: str = "audio"
    text_column: str | None = None
    prefix: str = ""
    pitch: bool = True
    silence_threshold_db: float = 16.0
    min_silence_ms: int = 150
    trim_silence_ms: int = 50
    audio_root: str | Path | None = None
    max_seconds: float = 600.0
    status_column: str | None = "audio_status"

    revision: ClassVar[int] = 1  # raised whenever the output changes, so that no cache serves old numbers

    def __post_init__(self) -> None:
        """Check every setting before any clip is read."""
        for name in ("min_silence_ms", "trim_silence_ms"):
            if not isinstance(value := getattr(self, name), int) or value < 1:
                raise ArgumentError(f"{name} must be a whole number of milliseconds, at least 1, and is {value!r}.")
        if not 0 < self.silence_threshold_db < math.inf:
            raise ArgumentError(
                f"silence_threshold_db must be above 0, in decibels below the clip's own level, and is "
                f"{self.silence_threshold_db!r}."
            )
        if self.status_column in self._kinds:
            raise ArgumentError(f"The new columns must have different names, and {self.status_column!r} is one twice.")

    @property
    def _kinds(self) -> dict[str, str]:
        """Name and type of every new column but the status."""
        kinds = TIMING | SOUND | (PITCH if self.pitch else {}) | (TEXT if self.text_column else {})
        return {self.prefix + name: kind for name, kind in kinds.items()}

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Return the new columns of one batch."""
        columns: dict[str, list[Any]] = {name: [] for name in self._kinds}
        statuses: list[str] = []
        texts = iter(batch_column(batch, self.text_column)) if self.text_column else None
        for clip in read_clips(batch, self.column, audio_root=self.audio_root, max_seconds=self.max_seconds):
            values = self._measure(clip)
            if texts is not None:
                values += self._rates(next(texts), values[0], values[1])
            for cells, value in zip(columns.values(), values, strict=True):
                cells.append(value)
            statuses.append(status_text(clip))
        if self.status_column:
            columns[self.status_column] = statuses
        return columns

    def _measure(self, clip: Clip) -> list[Any]:
        """Return what the sound of one clip tells, in the order of the columns."""
        if not clip.ok:
            return [None] * (len(TIMING) + len(SOUND) + self.pitch * len(PITCH))
        samples, rate = clip.samples, clip.sampling_rate
        steps, energy = quantise(samples)
        spectrum = measure_spectrum(samples, rate, self.silence_threshold_db)
        return [
            *self._timing(steps, rate, clip.duration),
            10 * math.log10(energy / len(steps)),
            clipped_share_of(steps),
            spectrum.snr_db,
            spectrum.bandwidth_hz,
            spectrum.flatness,
            *(_pitch(samples, rate) if self.pitch else ()),
        ]

    def _timing(self, steps: Any, rate: int, duration: float) -> list[Any]:
        """Return the columns of `TIMING`."""
        energy = measure_energy(steps, rate)
        end = energy.milliseconds
        edges = silent_ranges(energy, self.trim_silence_ms, self.silence_threshold_db).tolist()
        lead = edges[0][1] if edges and edges[0][0] == 0 else 0
        trail = end - edges[-1][0] if edges and edges[-1][1] == end else 0
        pauses = silent_ranges(energy, self.min_silence_ms, self.silence_threshold_db).tolist()
        lengths = [last - first for first, last in pauses]
        middle = [last - first for first, last in pauses if first > 0 and last < end]
        return [
            duration,
            max(0.0, duration - (lead + trail) / 1000),
            sum(lengths) / 1000,
            sum(middle) / 1000,
            len(lengths),
            len(middle),
            sum(lengths) / len(lengths) / 1000 if lengths else None,
            max(lengths, default=0) / 1000,
            max(0.0, 1 - sum(lengths) / 1000 / duration),
        ]

    def _rates(self, text: Any, duration: float | None, trimmed: float | None) -> list[Any]:
        """Return the columns of `TEXT` for one row; durations are null where the clip can't be used."""
        if text is None:
            return [None] * len(TEXT)
        if not isinstance(text, str):
            raise ColumnError(f"text_column={self.text_column!r} must hold strings, and holds a {type(text).__name__}.")
        words = unicodedata.normalize("NFC", text).split()
        characters = sum(map(len, words))
        spans = [span or None for span in (duration, trimmed)]  # nothing can be divided by 0 s
        return [
            len(words),
            characters,
            *(None if span is None else len(words) / span for span in spans),
            *(None if span is None or not words else span / len(words) for span in spans),
            *(None if span is None else characters / span for span in spans),
        ]

    @property
    def features(self) -> Features:
        """Name and type of every new column, for `Dataset.map(..., features=...)`."""
        from datasets import Features, Value

        columns = {name: Value(kind) for name, kind in self._kinds.items()}
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


def _pitch(samples: Any, rate: int) -> tuple[float | None, float | None, float | None]:
    """Return the columns of `PITCH`."""
    hertz, frames = track_pitch(samples, rate)
    share = len(hertz) / frames if frames else None
    if len(hertz) < MIN_VOICED:
        return None, None, share
    low, median, high = quantiles(hertz, 0.25, 0.5, 0.75)
    return median, 12 * math.log2(high / low), share
