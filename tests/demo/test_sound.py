"""Clips of the embedded corpus: noise at the SNR that is written, voices at the speed that is written."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

from hf_select.demo import sound
from hf_select.demo.cast import plan_lines
from hf_select.errors import AudioError


@pytest.fixture(scope="module")
def espeak():
    pytest.importorskip("espeakng_loader", reason='needs eSpeak NG: pip install "hf-select[demo]"')


def test_a_higher_rate_makes_a_shorter_clip(espeak):
    line = plan_lines(3, 3, 0, False)["train"][0]
    slow, fast = replace(line, rate_wpm=130, seed=(1,)), replace(line, rate_wpm=300, seed=(1,))
    (_, slow_seconds), (_, fast_seconds) = sound.speak_lines(line.speaker, [slow, fast], 16_000)
    assert fast_seconds < 0.8 * slow_seconds


def test_a_voice_that_fails_is_named(espeak):
    line = plan_lines(3, 3, 0, False)["train"][0]
    with pytest.raises(AudioError, match=rf"{line.speaker.name} .*spoke nothing"):
        sound.speak_lines(line.speaker, [replace(line, text="")], 16_000)


# ---- noise


@pytest.mark.parametrize("kind", ["white", "pink", "babble"])
@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 17.3])
def test_noise_is_added_at_the_snr_that_is_written(kind, snr_db):
    speech = np.random.default_rng(0).normal(size=20_011) * 0.1
    power = float(np.mean(speech**2))
    noisy = sound.add_noise(speech, kind, snr_db, 16_000, np.random.default_rng(1), power=power)
    assert 10 * np.log10(power / np.mean((noisy - speech) ** 2)) == pytest.approx(snr_db, abs=1e-9)


def test_spectra_of_the_noises():
    def octave_db(kind):
        noise = sound.make_noise(kind, 160_000, 16_000, np.random.default_rng(0))
        power = np.abs(np.fft.rfft(noise)) ** 2
        hz = np.fft.rfftfreq(160_000, 1 / 16_000)
        low, high = (power[(hz >= start) & (hz < 2 * start)].mean() for start in (1_000, 2_000))
        return 10 * np.log10(high / low)

    assert octave_db("white") == pytest.approx(0, abs=0.3)
    assert octave_db("pink") == pytest.approx(-3, abs=0.3)
    assert octave_db("babble") == pytest.approx(-9, abs=0.5)


def test_noise_is_heard_in_the_clip(espeak):
    import soundfile

    line = plan_lines(3, 3, 0, False)["train"][0]
    lines = [replace(line, noise="white", snr_db=snr, seed=(1,)) for snr in (0.0, 20.0)]
    lines.append(replace(line, noise="none", snr_db=None, seed=(1,)))
    leads = []
    for encoded, _ in sound.speak_lines(line.speaker, lines, 16_000):
        samples, _ = soundfile.read(io.BytesIO(encoded))
        leads.append(np.sqrt(np.mean(samples[:700] ** 2)) / np.sqrt(np.mean(samples**2)))  # before the voice starts
    assert leads[0] > 0.5 and 0.03 < leads[1] < 0.2 and leads[2] == 0
