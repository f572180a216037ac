"""From a list of sentences to encoded clips: run eSpeak NG, resample, add noise at a known SNR, write FLAC."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hf_select.audio import wave_bytes
from hf_select.demo import espeak
from hf_select.demo.cast import Line, Speaker
from hf_select.errors import AudioError, MissingPackageError

__all__ = ["add_noise", "make_noise", "require_espeak", "speak_lines"]

Samples = NDArray[np.float64]


def require_espeak() -> tuple[str, str]:
    """Return the paths of the eSpeak NG library and of its data folder, or say which extra brings them."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise MissingPackageError(
            "The embedded corpus is spoken by eSpeak NG, and the package espeakng-loader is not installed: "
            'run `pip install "hf-select[demo]"` (the wheel holds GPL-3 code, so it is only an extra).'
        ) from error
    return str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path())


def speak_lines(speaker: Speaker, lines: Sequence[Line], sampling_rate: int) -> list[tuple[bytes, float]]:
    """Return (FLAC bytes, duration in seconds) for each of one speaker's lines, made in one fresh process."""
    waves = _run_espeak(speaker, lines)
    return [_finish(wave, line, sampling_rate) for wave, line in zip(waves, lines, strict=True)]


def _run_espeak(speaker: Speaker, lines: Sequence[Line]) -> list[NDArray[np.int16]]:
    """Run `espeak.py` once for all lines of a speaker and split what it wrote."""
    library, data = require_espeak()
    order = {"library": library, "utterances": [{"text": line.text, "rate_wpm": line.rate_wpm} for line in lines]}
    with tempfile.TemporaryDirectory(prefix="hf_select_voice_") as folder:
        _link(Path(data), Path(folder, "espeak-ng-data"))
        accent = Path(data, "lang", "gmw", speaker.accent_file).read_text(encoding="utf-8")
        Path(folder, "voice").write_text(f"{accent}\n{speaker.voice}", encoding="utf-8")
        command = [sys.executable, "-I", "-S", str(Path(espeak.__file__).resolve())]
        try:
            done = subprocess.run(
                command, input=json.dumps(order).encode(), capture_output=True, cwd=folder, timeout=60 + len(lines)
            )
        except subprocess.TimeoutExpired as error:
            raise AudioError(f"eSpeak NG did not finish {len(lines)} clips of {speaker.name}: try again.") from error
        except OSError as error:
            raise AudioError(f"eSpeak NG could not be started with {sys.executable!r}: {error}.") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise AudioError(f"eSpeak NG failed for {speaker.name} ({speaker.accent}): {said[-1]}.")
    waves, at = [], 0
    while at < len(done.stdout):
        (size,) = struct.unpack_from("<I", done.stdout, at)
        waves.append(np.frombuffer(done.stdout, dtype="<i2", count=size // 2, offset=at + 4).astype(np.int16))
        at += 4 + size
    return waves


def _link(source: Path, target: Path) -> None:
    """Let `target` stand for the folder `source`; copy it where links are not allowed (Windows)."""
    try:
        target.symlink_to(source, target_is_directory=True)
    except OSError:
        shutil.copytree(source, target)


def _finish(wave: NDArray[np.int16], line: Line, sampling_rate: int) -> tuple[bytes, float]:
    """Resample, put silence around, add the noise, set the level, and encode: one clip."""
    import soxr

    rng = np.random.default_rng(line.seed)
    speech = soxr.resample(wave / 32768.0, espeak.RATE_HZ, sampling_rate)
    before, after = (rng.uniform(0.05, 0.30, size=2) * sampling_rate).astype(int)
    peak = rng.uniform(0.3, 0.9)  # people hold microphones at different distances
    clip = np.pad(speech, (before, after))
    if line.snr_db is not None:
        clip = add_noise(clip, line.noise, line.snr_db, sampling_rate, rng, power=float(np.mean(speech**2)))
    quantised = np.round(clip * (peak * 32767 / np.abs(clip).max())).astype(np.int16)
    return wave_bytes(quantised, sampling_rate, "FLAC", "PCM_16"), len(quantised) / sampling_rate


def add_noise(
    clip: Samples, kind: str, snr_db: float, sampling_rate: int, rng: np.random.Generator, *, power: float
) -> Samples:
    """Return the clip with noise of `kind` all over it, `snr_db` below `power`, the mean power of the spoken part."""
    return clip + make_noise(kind, len(clip), sampling_rate, rng) * np.sqrt(power / 10 ** (snr_db / 10))


def make_noise(kind: str, length: int, sampling_rate: int, rng: np.random.Generator) -> Samples:
    """Return `length` samples of noise of unit mean power.

    "white" has a flat spectrum, "pink" falls by 3 dB an octave, "babble" is six streams of noise with the long-term
    spectrum of speech (flat to 500 Hz, then -9 dB an octave) whose loudness moves about four times a second.
    """
    if kind == "babble":
        noise = sum((_babble_voice(length, sampling_rate, rng) for _ in range(6)), np.zeros(length))
    else:
        noise = _shaped(length, sampling_rate, {"white": 0.0, "pink": -0.5}[kind], 20.0, rng)
    return noise / np.sqrt(np.mean(noise**2))


def _babble_voice(length: int, sampling_rate: int, rng: np.random.Generator) -> Samples:
    """Return one far-away talker: speech-shaped noise under a slow, random envelope."""
    syllables = np.exp(rng.normal(0.0, 1.0, size=2 + int(4 * length / sampling_rate)))
    envelope = np.interp(np.linspace(0, len(syllables) - 1, length), np.arange(len(syllables)), syllables)
    return _shaped(length, sampling_rate, -1.5, 500.0, rng) * envelope


def _shaped(length: int, sampling_rate: int, exponent: float, corner_hz: float, rng: np.random.Generator) -> Samples:
    """Return Gaussian noise whose amplitude follows frequency ** exponent above `corner_hz` and is flat below."""
    size = length + -length % 4096  # the transform is slow for lengths with a large prime factor
    frequency = np.fft.rfftfreq(size, 1 / sampling_rate)
    weight = (np.maximum(frequency, corner_hz) / corner_hz) ** exponent
    return np.fft.irfft(np.fft.rfft(rng.normal(size=size)) * weight, n=size)[:length]
