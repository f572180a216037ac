"""The one place that opens audio: decoding, resampling, mono. A bad clip becomes a reason, never a crash.

row ── own_files ──> stream ── containers ──> what the header declares ──┐
                       └── libsndfile, block by block ──> what is there ─┴──> Clip: samples, or a status and why
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np

from hf_select.errors import AudioError
from hf_select.sound import clip as rules
from hf_select.sound.clip import STATUS, Clip, Part, StopReading
from hf_select.sound.containers import FOREIGN, Claim, read_claim
from hf_select.sound.foreign import read_array, read_decoder, read_foreign
from hf_select.sound.mpg123 import quiet_mpg123
from hf_select.sound.own_files import MissingFileError, RefusedPathError, open_own_file, own_name, printable
from hf_select.sound.steady import Bytes, File

__all__ = ["STATUS", "Clip", "claimed_seconds", "load_embedded", "read_clip", "wave_bytes"]

BLOCK = 1 << 20  # samples decoded at a time (4 MB), whatever a header claims
IN_MEMORY = 1 << 30  # bytes of a stream without a length, which is given one in memory
NO_LENGTH = (1 << 63) - 1  # libsndfile's SF_COUNT_MAX


def read_clip(
    audio: Any,
    *,
    sampling_rate: int | None = None,
    start: float | None = None,
    end: float | None = None,
    audio_root: str | os.PathLike[str] | None = None,
    max_seconds: float = 600.0,
) -> Clip:
    """Read one clip as mono float32; bad content gives a Clip that says why, and never raises.

    Reads:
        audio: one row of an Audio column: {"bytes", "path"} (as `Audio(decode=False)` gives it), a torchcodec AudioDecoder,
            {"array", "sampling_rate"}, encoded bytes, a path, or None. libsndfile decodes WAV, RF64, W64, AIFF, AU, CAF,
            NIST, FLAC, Ogg (Vorbis, Opus) and MP3; torchcodec, where it loads, decodes MP4, WebM, AAC and WMA.

    Args:
        sampling_rate: Hz to resample to, 1000 to 768000 (soxr, quality HQ, each clip by itself); None keeps its own.
        start: seconds, 0 or more: decode from here on. At or beyond the clip's end the status is "empty".
        end: seconds, above `start`: decode up to here. Beyond the clip's end it means the end.
            Only what lies between the two is checked; FLAC and uncompressed sound are not read before `start`.
        audio_root: folder of the dataset's own files; relative paths are relative to it. Files in the Hub's cache and in
            the downloads of `datasets` are opened as well; nothing else is.
        max_seconds: the longest part that is decoded, above 0, math.inf for any. A longer one is "too_long"; where the
            header tells, that is known before memory is taken.

    Returns:
        A Clip. Its status is "ok", or: missing, refused (a path outside the dataset, a URL), unreadable, empty, truncated
        (less than the container declares; an MP3 without a LAME tag may lack one frame), too_long, implausible (a rate
        outside 1000 to 768000 Hz, more than 64 channels, a header at odds with what is there), nonfinite, silent (peak to
        peak at most 2e-4).

    Raises:
        AudioError: an argument out of its range.

    Relations:
        `load_embedded` hands over the encoded bytes, under the same rules about paths.

    >>> tone = np.sin(np.arange(16000) * 0.1).astype("float32")
    >>> clip = read_clip({"bytes": wave_bytes(tone, 16000), "path": None}, sampling_rate=8000, end=0.5)
    >>> clip.status, clip.duration, clip.declared, len(clip.samples)
    ('ok', 0.5, 1.0, 4000)
    >>> read_clip({"bytes": None, "path": "https://example.org/a.wav"}).status
    'refused'
    """
    part = rules.check_arguments(sampling_rate, start, end, max_seconds)
    try:
        return _resample(_read(audio, part, audio_root), sampling_rate)
    except StopReading as stop:
        return stop.clip
    except RefusedPathError as error:
        return Clip(status="refused", detail=str(error))
    except MissingFileError as error:
        return Clip(status="missing", detail=str(error))
    except (RuntimeError, ValueError, TypeError, OSError, MemoryError, OverflowError, struct.error) as error:
        return Clip(status="unreadable", detail=printable(_why(error)))


def claimed_seconds(audio: Any, audio_root: str | os.PathLike[str] | None = None) -> float:
    """Return the seconds that a clip's header claims, NaN where it claims nothing; nothing is decoded.

    A header may lie: this is for putting clips of about one length together, never for a budget.

    >>> claimed_seconds({"bytes": wave_bytes(np.zeros(4000), 8000), "path": None})
    0.5
    """
    row = _as_row(audio)
    try:
        if row.get("array") is not None:
            return len(row["array"]) / row["sampling_rate"]
        data = row.get("bytes")
        file = Bytes(data) if data is not None else File(open_own_file(row["path"], audio_root))
        with file, quiet_mpg123, _sound_file()(file) as sound:
            return math.nan if sound.frames == NO_LENGTH else float(sound.frames / sound.samplerate)
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, OSError, ZeroDivisionError):
        return math.nan


def load_embedded(audio: Any, audio_root: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Return the storage form {"bytes", "path"} of a row with its bytes in it, to write a dataset that carries its audio.

    Reads:
        audio: {"bytes", "path"}, a decoder of `datasets`, a path, or None. Nothing is decoded or checked: that is `read_clip`.

    Returns:
        The encoded bytes and the bare file name (None if there is none). A null row gives {"bytes": None, "path": None}.

    Raises:
        AudioError: the path is refused, there is no file, or the row holds no encoded audio; the message names the path.

    >>> load_embedded({"bytes": b"RIFF", "path": "/home/someone/clips/a.wav"})
    {'bytes': b'RIFF', 'path': 'a.wav'}
    """
    row = _as_row(audio)
    if row is None:
        return {"bytes": None, "path": None}
    if not isinstance(row, Mapping) or row.get("array") is not None:
        raise AudioError(
            f"a {type(audio).__name__} holds no encoded audio to embed: cast the column to Audio(decode=False)."
        )
    data, path = row.get("bytes"), row.get("path")
    if data is None and path:
        try:
            with open_own_file(path, audio_root) as file:
                data = file.read()
        except OSError as error:
            raise AudioError(f"file {printable(repr(path))} can't be read: {error.strerror}.") from None
    return {"bytes": data, "path": own_name(path)}


def wave_bytes(samples: Any, sampling_rate: int, format: str = "FLAC", subtype: str | None = None) -> bytes:
    """Encode samples, (frames,) or (frames, channels), as the bytes of a sound file.

    Args:
        format: any that libsndfile writes: "FLAC", "WAV", "OGG", "MP3", "AIFF", ...
        subtype: the encoding within it, such as "FLOAT"; None takes the format's usual one.

    >>> wave_bytes([0.0, 0.5, -0.5], 16000, "WAV")[:4]
    b'RIFF'
    """
    import soundfile as sf

    file = io.BytesIO()
    sf.write(file, np.asarray(samples), sampling_rate, format=format, subtype=subtype)
    return file.getvalue()


def _why(error: Exception) -> str:
    """What libsndfile says, without the address of the stream that soundfile puts before it."""
    told = getattr(error, "error_string", "")
    return str(told).removeprefix("Error : ").rstrip(".") if told else f"{type(error).__name__}: {error}"


def _as_row(audio: Any) -> Any:
    audio = getattr(audio, "_hf_encoded", audio)  # `datasets` keeps the stored row beside its decoder
    if isinstance(audio, (str, os.PathLike)):
        return {"bytes": None, "path": audio}
    return {"bytes": bytes(audio), "path": None} if isinstance(audio, (bytes, bytearray, memoryview)) else audio


def _read(audio: Any, part: Part, audio_root: Any) -> Clip:
    row = _as_row(audio)
    if row is None:
        raise StopReading("missing", "the row is null")
    if hasattr(row, "get_samples_played_in_range"):
        return read_decoder(row, part)
    if not isinstance(row, Mapping):
        raise StopReading("unreadable", f"a {type(audio).__name__} is no audio")
    if row.get("array") is not None:
        return read_array(row["array"], row.get("sampling_rate"), part)
    data = row.get("bytes")
    if data is not None:
        return _read_stream(Bytes(data), len(data), part)
    if not row.get("path"):
        raise StopReading("missing", "no bytes and no path")
    with File(open_own_file(row["path"], audio_root)) as file:
        return _read_stream(file, os.fstat(file.fileno()).st_size, part)


def _read_stream(file: BinaryIO, size: int, part: Part) -> Clip:
    if not size:
        raise StopReading("empty", "0 bytes")
    claim = read_claim(file, size)
    if claim.kind == "ID3":
        file, size = _spliced(file, size, claim)
        claim = read_claim(file, size)
    if claim.kind in FOREIGN:
        return read_foreign(file, claim.kind, part)
    if claim.kind in ("", "ID3"):
        raise StopReading("unreadable", f"no sound container known here begins with {file.read(8)!r}")
    if claim.splice:
        file, size = _spliced(file, size, claim)
    if claim.kind != "MP3":
        return _decode(file, claim, part)
    with quiet_mpg123:
        return _decode(file, claim, part)


def _spliced(file: BinaryIO, size: int, claim: Claim) -> tuple[BinaryIO, int]:
    if size > IN_MEMORY:
        raise StopReading("too_long", f"{size} bytes of {claim.kind} without a length")
    first, last, new = claim.splice or (0, 0, b"")
    data = file.read()
    data = data[:first] + new + data[last:]
    return Bytes(data), len(data)


def _decode(file: BinaryIO, claim: Claim, part: Part) -> Clip:
    try:
        sound = _sound_file()(file)
    except RuntimeError as error:
        status, why = ("truncated", claim.cut) if claim.cut else ("unreadable", f"{claim.kind}: {_why(error)}")
        raise StopReading(status, why) from None
    with sound:
        rate, channels = sound.samplerate, sound.channels
        there = None if sound.frames == NO_LENGTH or (claim.kind == "MP3" and claim.splice) else sound.frames
        declared = there if claim.ask else claim.frames
        known = {"source_rate": rate, "channels": channels, "declared": declared and declared / max(rate, 1)}
        rules.check_header(rate, channels, known)
        rules.check_count(claim, sound.frames, rate, known)
        first, last = part.frames(rate)
        want = rules.check_length(first, last, there, rate, part, known)
        try:
            # a frame of MP3, Vorbis or Opus depends on those before it: after a seek it would not be the same
            samples, peak = _read_blocks(sound, first, want, seek=claim.kind not in ("MP3", "OGG"))
        except RuntimeError as error:
            samples, peak = _read_again(file, first, want, _why(error), known)
    if len(samples) > part.max_seconds * rate:
        raise StopReading("too_long", f"more than max_seconds={part.max_seconds:g}", **known)
    rules.check_end(first, len(samples), last, declared, claim, known)
    return rules.judge(samples, peak, rate, first, known)


def _read_blocks(sound: Any, first: int, want: int, seek: bool = True) -> tuple[np.ndarray, float]:
    """Return (mono samples, peak over all channels) of `want` frames from `first` on, or of what there is."""
    channels = sound.channels
    size = max(1, BLOCK // channels)
    blocks, got, peak, skip = [], 0, 0.0, first
    if skip and want and seek:
        sound.seek(skip)
        skip = 0
    with np.errstate(over="ignore", invalid="ignore"):
        while got < want:
            count = min(size, skip or want - got)
            block = sound.read(out=np.empty((count, channels), np.float32))
            if len(block) < count:
                block = block.copy()  # not a view that keeps all of an empty block alive
            if skip:
                skip -= len(block)
            else:
                got += len(block)
                blocks.append(block[:, 0] if channels == 1 else block.mean(axis=1))
                peak = peak if channels == 1 else max(peak, float(np.abs(block).max(initial=0.0)))
            if len(block) < count:
                break
    return (blocks[0] if len(blocks) == 1 else np.concatenate(blocks or [np.zeros(0, np.float32)])), peak


def _read_again(file: BinaryIO, first: int, want: int, why: str, known: dict[str, Any]) -> tuple[np.ndarray, float]:
    """After an error: a part is read without seeking, which may fail where reading does not; else count what can be had."""
    if first:
        file.seek(0)
        with _sound_file()(file) as sound, contextlib.suppress(RuntimeError):
            return _read_blocks(sound, first, want, seek=False)
    count, rate = 0, known["source_rate"]
    file.seek(0)
    with _sound_file()(file) as sound, contextlib.suppress(RuntimeError):
        block = np.empty((1024, known["channels"]), np.float32)
        while count < first + want and (step := len(sound.read(out=block))):
            count += step
    known = known | {"duration": max(0, count - first) / rate}
    at_end = file.tell() == file.seek(0, io.SEEK_END)
    if at_end and known["declared"] is not None:
        raise StopReading("truncated", f"{count} of {round(known['declared'] * rate)} frames", **known)
    raise StopReading("truncated" if at_end else "unreadable", f"{why} after {count / rate:.2f} s", **known)


@functools.cache
def _sound_file() -> Any:
    """Return soundfile's reader without its seek after each read, which raises at the end of a FLAC of unknown length."""
    import soundfile as sf

    class Stream(sf.SoundFile):  # type: ignore[misc]
        def seekable(self) -> bool:
            return False

    return Stream


def _resample(clip: Clip, sampling_rate: int | None) -> Clip:
    if sampling_rate is None or sampling_rate == clip.sampling_rate:
        return clip
    import soxr

    samples = soxr.resample(clip.samples, clip.sampling_rate, sampling_rate, quality="HQ")
    if not len(samples):
        why = f"{len(clip.samples)} samples, none at {sampling_rate} Hz"
        return replace(clip, samples=samples, sampling_rate=0, status="empty", detail=why)
    return replace(clip, samples=samples, sampling_rate=int(sampling_rate))
