"""Silence is where pydub finds it: all ranges, to the millisecond, on real clips and on made ones of any rate and length.

`pydub_silence.json` was made once, by pydub 0.25.1 on Python 3.11 (it does not import on 3.13). Each clip, as 16-bit mono
(`made_clips` below; for real ones a row of a shared pack, read by `read_clip` and rounded), went through

    clip = pydub.AudioSegment(data=steps.tobytes(), sample_width=2, frame_rate=rate, channels=1)
    pydub.silence.detect_silence(clip, min_silence_len, clip.dBFS - 16, seek_step=1)

for min_silence_len 150 and 50. Beside them stand `len(clip)` and the digest of the samples (that of `AudioQuality`).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hf_select.audio import read_clip
from hf_select.transforms.quality import _digest, quantise
from hf_select.transforms.silence import measure_energy, silent_ranges

from .conftest import SHARED

TABLE = json.loads(Path(__file__).with_name("pydub_silence.json").read_text(encoding="utf-8"))


def bursts(rate: int, frames: int, seed: int) -> np.ndarray:
    """Return noise whose level changes every 20 to 400 ms; whole numbers only, so that it is the same on any machine."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(-32768, 32768, frames)
    level = np.repeat(rng.choice([0, 1, 40, 300, 1000], 200), rng.integers(rate // 50, rate * 2 // 5, 200))
    return steps * np.resize(level, frames) // 1000


def made_clips() -> dict[str, tuple[np.ndarray, int]]:
    """Return name -> (samples of 16 bits, Hz)."""
    clips = {}
    for seed, rate in enumerate((1000, 1001, 4000, 8000, 11025, 11127, 16000, 22050, 32000, 44100, 48000, 96000)):
        clips[f"bursts at {rate} Hz"] = bursts(rate, rate * 2 + 7 * seed + 1, seed), rate
    for milliseconds in (20, 49, 50, 51, 149, 150, 151):
        clips[f"{milliseconds} ms"] = bursts(16000, 16 * milliseconds, milliseconds), 16000
    clips["half a millisecond more"] = bursts(44100, 44100 + 23, 3), 44100  # the last millisecond lacks a sample
    clips["a click"] = np.where(np.arange(8000) == 4000, 20000, 0), 16000
    clips["a faint click"] = np.where(np.arange(8000) == 4000, 60, 0), 16000  # its root mean square rounds to 0
    clips["an offset"] = bursts(16000, 16000, 4) // 4 + 8000, 16000
    clips["one value"] = np.full(8000, 123), 16000
    clips["full scale"] = np.where(np.arange(16000) // 4000 % 2 == 0, -32768, 0), 16000
    clips["sound at the ends only"] = np.where(abs(np.arange(16000) - 8000) > 7000, bursts(16000, 16000, 5), 0), 16000
    clips["a second of one step"] = np.arange(16000) // 8 % 2, 16000
    return {name: (steps.astype(np.int16), rate) for name, (steps, rate) in clips.items()}


def as_table(steps: np.ndarray, rate: int) -> dict[str, object]:
    energy = measure_energy(steps, rate)
    found = {str(least): silent_ranges(energy, least, 16.0).tolist() for least in (150, 50)}
    return {"digest": _digest(steps, rate), "milliseconds": energy.milliseconds, **found}


@pytest.mark.parametrize("name", TABLE["made"])
def test_made_clips_have_the_silence_that_pydub_finds(name):
    assert as_table(*made_clips()[name]) == TABLE["made"][name]


def test_the_table_is_worth_the_comparison():
    assert set(TABLE["made"]) == set(made_clips())
    ranges = [len(row[least]) for part in ("made", "real") for row in TABLE[part].values() for least in ("150", "50")]
    assert (len(TABLE["real"]), sum(ranges) > 500, min(ranges)) == (66, True, 0)


def test_real_clips_have_the_silence_that_pydub_finds():
    import pyarrow.parquet as pq

    packs = sorted({name.split("/")[0] for name in TABLE["real"]})
    there = [pack for pack in packs if (SHARED / f"{pack}.parquet").exists()]
    if not there:
        pytest.skip("the shared packs are not beside this checkout (../shared/data)")
    for pack in there:
        audio = pq.read_table(SHARED / f"{pack}.parquet", columns=["audio"])["audio"]
        for name, wanted in TABLE["real"].items():
            if name.startswith(f"{pack}/"):
                clip = read_clip(audio[int(name.split("/")[1])].as_py())
                assert as_table(quantise(clip.samples)[0], clip.sampling_rate) == wanted, name


def test_agrees_with_a_loop_over_milliseconds_at_other_limits():
    settings = [(16000, 1, 3.0), (8000, 40, 8.0), (44100, 100, 6.5), (1000, 7, 16.0)]
    for seed, (rate, least, below) in enumerate(settings):
        steps = bursts(rate, rate + seed, seed).astype(np.int16)
        energy = measure_energy(steps, rate)
        limit = energy.rms * 10 ** (-below / 20)
        silent = np.zeros(energy.milliseconds, bool)
        for start in range(energy.milliseconds - least + 1):
            part = steps[int(start * rate / 1000) : int((start + least) * rate / 1000)].astype(np.int64)
            if int(np.sqrt((part**2).sum() / len(part))) <= limit:
                silent[start : start + least] = True
        edges = np.flatnonzero(np.diff(np.concatenate([[0], silent, [0]]))).reshape(-1, 2).tolist()
        assert silent_ranges(energy, least, below).tolist() == edges
        assert edges
