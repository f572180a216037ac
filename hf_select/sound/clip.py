"""What a clip of sound is, and the rules by which one can't be used."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hf_select.errors import AudioError
from hf_select.sound.claim import Claim
from hf_select.sound.own_files import printable

__all__ = ["STATUS", "Clip", "Part", "StopReading"]

STATUS: tuple[str, ...] = ("ok", "missing", "refused", "unreadable", "empty")
STATUS += ("truncated", "too_long", "implausible", "nonfinite", "silent")
RATES = (1000, 768000)  # Hz
MAX_CHANNELS = 64
MAX_PEAK = 1e6  # full scale is 1; float files may go beyond it, but not so far
SILENCE = 2e-4  # peak to peak: six steps of 16 bits
NEVER = 1 << 62  # a frame that no clip reaches
PILE = 1 << 32  # frames that no clip has: a day at 48 kHz


@dataclass(frozen=True, eq=False)
class Clip:
    """One clip as it was read, or the reason why it can't be used.

    Attributes:
        samples: float32, mono (mean of the channels), full scale 1; empty unless `ok`.
        sampling_rate: Hz of `samples`; 0 where nothing was decoded.
        duration: seconds decoded, counted before resampling; 0.0 if none.
        declared: seconds that the container declares for the whole clip; None if it declares none.
        status: one of `STATUS`.
        detail: a short sentence for people; "" when ok.
        source_rate: Hz in the container; 0 if not known.
        channels: channels in the container; 0 if not known.
    """

    samples: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32), repr=False)
    sampling_rate: int = 0
    duration: float = 0.0
    declared: float | None = None
    status: str = "ok"
    detail: str = ""
    source_rate: int = 0
    channels: int = 0

    @property
    def ok(self) -> bool:
        """Say whether the clip can be used."""
        return self.status == "ok"


class StopReading(Exception):
    """A clip that can't be used: its status, why, and what is known of it by now."""

    def __init__(self, status: str, detail: str, **known: Any) -> None:
        super().__init__(detail)
        self.clip = Clip(status=status, detail=printable(detail), **known)


@dataclass(frozen=True)
class Part:
    """The part of a clip that is wanted, in seconds."""

    start: float
    end: float | None
    max_seconds: float

    def frames(self, rate: int) -> tuple[int, int | None]:
        """Return (first frame, end or None) at `rate` Hz."""
        return round(min(self.start * rate, NEVER)), None if self.end is None else round(min(self.end * rate, NEVER))


def check_arguments(sampling_rate: int | None, start: float | None, end: float | None, max_seconds: float) -> Part:
    """Return the part that is asked for; raise an AudioError for what can't be meant."""
    if sampling_rate is not None and not RATES[0] <= sampling_rate <= RATES[1]:
        raise AudioError(
            f"sampling_rate={sampling_rate!r}: it is in Hz, {RATES[0]} to {RATES[1]}, or None for the clip's own."
        )
    if not max_seconds > 0:
        raise AudioError(f"max_seconds={max_seconds!r}: it is a number of seconds above 0.")
    first = 0.0 if start is None else float(start)
    if not 0 <= first < math.inf or (end is not None and not first < end):
        raise AudioError(
            f"start={start!r}, end={end!r}: they are seconds, 0 <= start < end, or None for the clip's own."
        )
    return Part(first, None if end is None or end == math.inf else float(end), float(max_seconds))


def check_header(rate: int, channels: int, known: dict[str, Any]) -> None:
    """Stop at a rate, or a number of channels, that no recording has."""
    if not RATES[0] <= rate <= RATES[1]:
        raise StopReading("implausible", f"sampling rate {rate} Hz, outside {RATES[0]} to {RATES[1]}", **known)
    if not 1 <= channels <= MAX_CHANNELS:
        raise StopReading("implausible", f"{channels} channels, more than {MAX_CHANNELS}", **known)


def check_count(claim: Claim, found: int, rate: int, known: dict[str, Any]) -> None:
    """Stop where the decoder makes something else of a count of frames (MP3) than what it says."""
    # a decoder's own delay of 529 samples is in the count where there is no room for it in the encoder's padding
    off = abs((claim.frames or 0) - found) > max(529, claim.slack)
    if claim.rate is not None and (off or rate != claim.rate):
        why = f"the header declares {claim.frames} frames at {claim.rate} Hz, the decoder finds {found} at {rate} Hz"
        raise StopReading("implausible", why, **known)


def check_length(first: int, last: int | None, there: int | None, rate: int, part: Part, known: dict[str, Any]) -> int:
    """Return how many frames to read, one more than allowed where nobody knows; stop where it is known to be too much."""
    limit = NEVER if part.max_seconds == math.inf else int(part.max_seconds * rate)
    stop = min((n for n in (there, last) if n is not None), default=None)
    if stop is None:
        return limit + 1
    if stop - first > limit:
        why = (
            f"{(stop - first) / rate:.1f} s x {known['channels']} channels, more than max_seconds={part.max_seconds:g}"
        )
        raise StopReading("implausible" if stop > PILE else "too_long", why, **known)
    return max(0, stop - first)


def check_end(
    first: int, got: int, last: int | None, declared: int | None, claim: Claim, known: dict[str, Any]
) -> None:
    """Hold what was read against what the header declares, as far as it was asked for."""
    end = first + got
    known = known | {"duration": got / known["source_rate"]}
    if declared is not None and (got or first < declared):
        if end + claim.slack < (declared if last is None else min(last, declared)) or not got:
            found = end if got or not first else f"none from {first} on"
            raise StopReading("truncated", f"{found} of {declared} frames", **known)
        if end > declared + claim.slack:
            raise StopReading("implausible", f"the header declares {declared} frames and {end} are there", **known)
    if claim.cut and (last is None or end < last) and (not first or declared is None or first < declared):
        raise StopReading("truncated", f"{claim.cut}, after {end} frames", **known)


def judge(samples: np.ndarray, peak: float, rate: int, first: int, known: dict[str, Any]) -> Clip:
    """Return the clip, unless there is nothing in it to hear or to compute with."""
    known = known | {"duration": len(samples) / rate}
    if not len(samples):
        raise StopReading("empty", f"no sound from {first / rate:g} s on" if first else "no sound in it", **known)
    low, high = float(samples.min()), float(samples.max())
    if not (low >= -MAX_PEAK and high <= MAX_PEAK and peak <= MAX_PEAK):  # so written, NaN fails too
        why = "samples that are no numbers" if math.isnan(low) else f"a peak of {max(-low, high, peak):g}"
        raise StopReading("nonfinite", why, **known)
    if high - low <= SILENCE:
        raise StopReading("silent", f"peak to peak {high - low:.1g}", **known)
    return Clip(samples=samples, sampling_rate=rate, **known)
