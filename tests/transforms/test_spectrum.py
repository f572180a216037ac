"""Noise, band and flatness: known mixtures, known resampling, and librosa."""

from __future__ import annotations

import numpy as np
import pytest

from hf_select.audio import read_clip
from hf_select.transforms.spectrum import Spectrum, measure_spectrum

from .conftest import flac, voice

RATE = 16000


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32)


def measured(samples: np.ndarray, rate: int = RATE) -> Spectrum:
    return measure_spectrum(np.asarray(samples, np.float32), rate, 16.0)


def test_snr_of_known_mixtures(real_clips):
    clips = [read_clip(clip) for clip in real_clips]
    clean = [c for c in clips if (measured(c.samples, c.sampling_rate).snr_db or 0) > 35]
    assert len(clean) >= 25
    wanted = [0.0, 5.0, 10.0, 15.0, 20.0]
    found = np.array(
        [[mixed_snr(c.samples, c.sampling_rate, db, seed) for db in wanted] for seed, c in enumerate(clean)]
    )
    assert (np.diff(found, axis=1) > 2).all()  # more is more, in every clip
    assert np.abs(found - wanted).mean() < 0.8
    assert np.abs(np.median(found, axis=0) - wanted).max() < 0.8


def mixed_snr(samples: np.ndarray, rate: int, db: float, seed: int) -> float | None:
    added = noise(len(samples), seed)
    added *= np.sqrt(np.mean(samples**2) / np.mean(added**2)) * 10 ** (-db / 20)
    return measured(samples + added, rate).snr_db


def test_snr_overlooks_offset_hum_and_digital_silence():
    t = np.arange(3 * RATE) / RATE
    speech = np.where(abs(t - 1.5) < 0.5, 0.3 * np.sin(2 * np.pi * 400 * t), 0) + 1e-3 * noise(3 * RATE)
    snr = measured(speech).snr_db
    assert snr == pytest.approx(10 * np.log10(0.3**2 / 2 / 1e-6 / 3), abs=1.0)
    hum = 0.02 * np.sin(2 * np.pi * 50 * t)
    assert measured(speech + hum + 0.1).snr_db == pytest.approx(snr, abs=0.5)
    assert measured(np.append(speech, np.zeros(5 * RATE))).snr_db == pytest.approx(snr, abs=0.5)
    assert -12 < measured(noise(RATE) * 0.1).snr_db < -5  # noise and nothing else


@pytest.mark.parametrize("original", [8000, 11025, 16000])
def test_bandwidth_sees_what_was_resampled(original, real_clips):
    import soxr

    found = []
    for clip in map(read_clip, real_clips):
        if clip.sampling_rate == RATE:
            narrow = soxr.resample(clip.samples, RATE, original)
            again = soxr.resample(narrow, original, RATE) / 2  # what clips reaches up to 8 kHz again
            found.append(measured(read_clip(flac(again)).samples).bandwidth_hz)
    if original < RATE:
        assert max(found) < original / 2
        assert np.median(found) > 0.46 * original
    else:
        assert min(found) > 4400
        assert np.median(found) > 7400


def test_bandwidth_of_a_cut_spectrum():
    spectrum = np.fft.rfft(0.1 * noise(RATE))  # a bin is 1 Hz
    for hertz in (500, 3400, 7000):
        cut = np.fft.irfft(np.where(np.arange(len(spectrum)) < hertz, spectrum, 1e-4 * spectrum))  # -80 dB
        assert measured(cut).bandwidth_hz == pytest.approx(hertz, abs=200)  # the window spreads 60 dB over six bins
    quiet = np.rint(np.fft.irfft(np.where(np.arange(len(spectrum)) < 500, spectrum, 0)) * 300) / 2**15  # some 5 steps
    assert measured(quiet).bandwidth_hz == pytest.approx(500, abs=150)  # the noise of rounding is no band
    assert measured(np.eye(1, RATE, 999)[0] * 8 / 2**15).bandwidth_hz is None


def test_flatness_is_librosas_and_that_of_white_noise():
    import librosa

    assert measured(0.1 * noise(4 * RATE)).flatness == pytest.approx(np.exp(-np.euler_gamma), abs=0.01)
    assert measured(0.3 * np.sin(np.arange(RATE) * 0.0785)).flatness < 1e-4
    samples = 0.1 * voice(1.0, 3) + 1e-2 * noise(RATE)
    spectrum = np.abs(librosa.stft(samples, n_fft=512, hop_length=256, window="hann", center=False)) ** 2
    power = spectrum[4:]  # 100 Hz is bin 3.2
    loud = power.sum(0) >= power.sum(0).mean() * 10**-1.6
    theirs = librosa.feature.spectral_flatness(S=power[:, loud], power=1.0, amin=1e-12).mean()
    assert measured(samples).flatness == pytest.approx(theirs, rel=1e-3)
