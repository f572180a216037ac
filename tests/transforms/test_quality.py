"""AudioQuality measures what is there, and knows the same sound again in another file."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

from hf_select.audio import read_clip, wave_bytes
from hf_select.columns import with_columns
from hf_select.errors import ColumnError
from hf_select.transforms.quality import BLOCK, AudioQuality

from .conftest import PACKS, SHARED, audio_table, flac, voice


def measured(*clips, **config) -> dict[str, list]:
    return AudioQuality(**config)({"audio": list(clips)})


def encoded(samples, rate=16000, container="WAV", subtype=None, name="a.wav") -> dict[str, object]:
    return {"bytes": wave_bytes(samples, rate, container, subtype), "path": name}


def loud(*touches: int, level: float = 1.0, n: int = 1000) -> np.ndarray:
    """Return quiet noise that stands at `level` at the given places."""
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, n)
    samples[list(touches)] = level
    return samples.astype(np.float32)


def test_values_worked_out_by_hand():
    square = np.where(np.arange(8000) % 20 < 10, 0.5, -0.25).astype(np.float32)
    found = measured(encoded(square, 8000, subtype="FLOAT"))
    assert found["audio_seconds"] == found["audio_declared_seconds"] == [1.0]
    assert (found["audio_rate_hz"], found["audio_channels"], found["audio_peak"]) == ([8000], [1], [0.5])
    assert found["audio_rms_dbfs"][0] == pytest.approx(10 * np.log10((0.25 + 0.0625) / 2), abs=1e-9)
    assert found["audio_clipped_share"] == [0.0]
    assert found["audio_status"] == ["ok"]


def test_a_clip_of_many_blocks_is_measured_whole():
    samples = voice(10.0, 3)
    samples[0], samples[-1] = 0.9, -0.95
    assert len(samples) > 2 * BLOCK
    found = measured({"array": samples, "sampling_rate": 16000})
    assert found["audio_peak"][0] == pytest.approx(0.95)
    power = float(np.mean(samples.astype(np.float64) ** 2))
    assert found["audio_rms_dbfs"][0] == pytest.approx(10 * np.log10(power), abs=1e-9)
    changed = samples.copy()
    changed[BLOCK] += 0.01
    assert found["audio_digest"] != measured({"array": changed, "sampling_rate": 16000})["audio_digest"]


@pytest.mark.parametrize(
    ("samples", "share"),
    [
        (loud(10, 11, 12), 0.003),  # a flat top
        (loud(10, 500, 900), 0.003),  # as lossy coding leaves it: single samples at the end of the scale
        (loud(10, 500), 0.0),  # speech may touch its own peak twice
        (loud(10, 500, 900, level=-1.0), 0.003),  # the lower end
        (loud(10, 500, 900, level=0.992), 0.003),  # just below full scale
        (loud(*range(100), level=0.9), 0.0),  # turned down afterwards: not to be seen
        (np.concatenate([loud(1, 2, 3, n=500), loud(1, 2, 3, 4, level=-1.0, n=500)]), 0.007),
    ],
)
def test_clipped_share(samples, share):
    assert measured(encoded(samples))["audio_clipped_share"] == [pytest.approx(share)]


def test_overshoot_beyond_full_scale_is_clipped_as_16_bits_would():
    samples = loud(10, 500) * 1.0
    samples[[20, 30]] = 1.5, 1.7
    found = measured(encoded(samples, subtype="FLOAT"))
    assert found["audio_clipped_share"] == [pytest.approx(0.004)]
    assert found["audio_peak"] == [pytest.approx(1.7)]


def test_loud_speech_and_tones_that_fill_the_scale_are_not_clipped():
    speech = voice(1.0, 5)
    speech /= np.abs(speech).max()
    tone = np.sin(np.arange(16000) * 0.123456)  # near its peak more often than at it
    assert measured(encoded(speech), encoded(tone), encoded(-tone))["audio_clipped_share"] == [0.0, 0.0, 0.0]
    clipped = np.clip(1.1 * tone, -1, 1)
    assert measured(encoded(clipped))["audio_clipped_share"][0] == pytest.approx(
        2 * np.arccos(1 / 1.1) / np.pi, abs=0.002
    )


def test_clipping_is_still_seen_after_lossy_coding():
    clipped = np.clip(6 * voice(1.0, 2) / np.abs(voice(1.0, 2)).max(), -1, 1)
    coded = np.clip(read_clip(encoded(clipped, container="OGG")).samples, -1, 1)  # as 16 bits hold it
    assert measured(encoded(coded))["audio_clipped_share"][0] > 0.01


def test_the_same_sound_in_another_file_has_the_same_digest():
    sound = np.rint(voice(0.5, 1) * 32768) / 32768
    same = [
        encoded(sound),
        encoded(sound, container="FLAC", name="other name.flac"),
        encoded(sound, subtype="PCM_24"),
        encoded(sound, subtype="FLOAT"),
        encoded(sound, container="AIFF"),
        encoded(np.stack([sound, sound], axis=1)),
        {"array": sound, "sampling_rate": 16000},
        {"array": np.rint(sound * 32768).astype(np.int16), "sampling_rate": 16000},
    ]
    assert len(set(measured(*same)["audio_digest"])) == 1
    top = np.append(sound, 32767 / 32768)
    assert measured(encoded(top))["audio_digest"] != measured(encoded(np.append(sound, 32766 / 32768)))["audio_digest"]
    other = [
        encoded(sound, 8000),
        encoded(sound[1:]),
        encoded(np.append(sound, 0.0)),  # silence at the end counts
        encoded(np.append(0.0, sound)),
        encoded(sound * 0.5),
        encoded(-sound),
        encoded(sound, container="OGG"),
    ]
    digests = measured(same[0], *other)["audio_digest"]
    assert len(set(digests)) == len(digests)
    assert all(len(digest) == 32 and int(digest, 16) >= 0 for digest in digests)


def test_bad_clips_are_null_with_a_reason_and_what_the_header_says():
    half = flac(voice(1.0, 1))
    cut = {"bytes": wave_bytes(voice(1.0, 1), 16000, "WAV")[:16044], "path": None}
    silent = flac(np.zeros(16000, np.float32), 16000)
    found = measured(None, {"bytes": b"", "path": None}, {"bytes": b"RIFF??", "path": None}, cut, silent, half)
    codes = [status.split(":")[0] for status in found["audio_status"]]
    assert codes == ["missing", "empty", "unreadable", "truncated", "silent", "ok"]
    for name in ("seconds", "peak", "clipped_share", "rms_dbfs", "digest"):
        assert [value is None for value in found[f"audio_{name}"]] == [True] * 5 + [False], name
    assert found["audio_declared_seconds"][3:] == [1.0, 1.0, 1.0]
    assert found["audio_rate_hz"] == [None, None, None, 16000, 16000, 16000]


def test_names_do_not_clash_with_a_datasets_own(tmp_path):
    ds = audio_table([flac(voice(0.5, 1)), None], duration=[9.0, 9.0], rms_db=[1.0, 1.0], peak=["x", "y"])
    out = with_columns(ds, AudioQuality(), cache_dir=tmp_path)
    assert out["audio_seconds"][:] == [0.5, None]
    assert out["duration"][:] == [9.0, 9.0]
    other = AudioQuality(prefix="q_", status_column=None)
    again = with_columns(out, other, cache_dir=tmp_path)
    assert again["q_digest"][:] == again["audio_digest"][:]
    assert set(other.features) == {f"q_{name.removeprefix('audio_')}" for name in AudioQuality().features} - {
        "q_status"
    }


def test_maps_a_decoding_column_with_its_features():
    ds = audio_table([flac(voice(0.5, 1)), None])
    quality = AudioQuality()
    out = ds.map(quality, batched=True, features=type(ds.features)({**ds.features, **quality.features}))
    assert out["audio_rate_hz"][:] == [16000, None]
    assert out.features["audio_peak"].dtype == "float64"


def test_missing_column_names_those_there_are():
    with pytest.raises(ColumnError, match=r"no column 'audio'.*speech"):
        AudioQuality()({"speech": []})


def test_hashes_the_same_in_another_process_and_after_use():
    quality = AudioQuality(prefix="q_")
    assert pickle.loads(pickle.dumps(quality)) == quality
    code = (
        "from datasets.fingerprint import Hasher; from hf_select.transforms.quality import AudioQuality as Q; "
        "import json; print(json.dumps([Hasher.hash(Q(prefix='q_')), Hasher.hash(Q())]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    from datasets.fingerprint import Hasher

    quality({"audio": [flac(voice(0.5, 1))]})
    mine, other = json.loads(done.stdout)
    assert mine == Hasher.hash(quality)
    assert mine != other


@pytest.mark.parametrize("pack", PACKS)
def test_agrees_with_the_packs_own_numbers(pack):
    import pyarrow.parquet as pq

    file = SHARED / f"{pack}.parquet"
    if not file.exists():
        pytest.skip("the shared packs are not beside this checkout (../shared/data)")
    rows = next(pq.ParquetFile(file).iter_batches(100, columns=["audio", "duration", "rms_db"])).to_pydict()
    found = AudioQuality()(rows)
    np.testing.assert_allclose(found["audio_rms_dbfs"], rows["rms_db"], atol=0.0051)  # written there with two digits
    np.testing.assert_allclose(found["audio_seconds"], rows["duration"], atol=0.00051)
