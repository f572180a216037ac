"""SpeechMetadata: values worked out by hand, against librosa and against known mixtures, the same in any batch."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

import hf_select as hs
from hf_select.audio import wave_bytes
from hf_select.columns import with_columns
from hf_select.errors import ArgumentError, ColumnError
from hf_select.transforms import AudioQuality
from hf_select.transforms.pitch import BLOCK, HOP
from hf_select.transforms.speech import PITCH, SOUND, TEXT, TIMING

from .conftest import SHARED, audio_table, flac, voice

RATE = 16000


def tone(seconds: float, hertz: float = 200, level: float = 0.3, rate: int = RATE) -> np.ndarray:
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def rest(seconds: float, rate: int = RATE) -> np.ndarray:
    return np.zeros(round(seconds * rate))


def measured(*pieces: np.ndarray, rate: int = RATE, text: str | None = None, **config) -> dict[str, object]:
    """Measure the pieces as one clip; return its row."""
    clip = {"array": np.concatenate(pieces), "sampling_rate": rate}
    column = {"text_column": "text"} if text is not None else {}
    found = hs.SpeechMetadata(**column, **config)({"audio": [clip], "text": [text]})
    return {name: values[0] for name, values in found.items()}


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32)


def pack(name: str, *columns: str) -> dict[str, list]:
    import pyarrow.parquet as pq

    if not (SHARED / f"{name}.parquet").exists():
        pytest.skip("the shared packs are not beside this checkout (../shared/data)")
    return pq.read_table(SHARED / f"{name}.parquet", columns=["audio", *columns]).to_pydict()


# silence and rate


def test_pauses_worked_out_by_hand():
    found = measured(rest(0.3), tone(0.5), rest(0.4), tone(0.5), rest(0.1), tone(0.2), rest(0.2), text="one two  three")
    near = {"abs": 0.004}  # a window may hold a few milliseconds of tone and still be silent
    assert found["duration"] == 2.2
    assert found["trimmed_duration"] == pytest.approx(1.7, **near)
    assert found["total_silence_seconds"] == pytest.approx(0.9, abs=0.012)
    assert found["middle_silence_seconds"] == pytest.approx(0.4, **near)
    assert (found["n_pauses"], found["n_middle_pauses"]) == (3, 1)  # 0.1 s is no pause
    assert found["mean_pause_seconds"] == pytest.approx(found["total_silence_seconds"] / 3)
    assert found["longest_pause_seconds"] == found["middle_silence_seconds"]
    assert found["speech_ratio"] == pytest.approx(1 - found["total_silence_seconds"] / 2.2)
    assert (found["n_words"], found["n_characters"]) == (3, 11)
    assert found["words_per_second"] == 3 / 2.2
    assert found["seconds_per_word"] == 2.2 / 3
    assert found["words_per_second_trimmed"] == 3 / found["trimmed_duration"]
    assert found["seconds_per_word_trimmed"] == found["trimmed_duration"] / 3
    assert found["characters_per_second"] == 11 / 2.2
    assert found["characters_per_second_trimmed"] == 11 / found["trimmed_duration"]


def test_nothing_is_trimmed_at_the_last_pause_of_a_clip_that_ends_in_sound():
    found = measured(rest(0.2), tone(0.5), rest(0.3), tone(0.5))
    assert found["trimmed_duration"] == pytest.approx(1.3, abs=0.004)  # the paper's code: 0.5
    found = measured(tone(0.5), rest(0.3), tone(0.5))
    assert found["trimmed_duration"] == found["duration"] == 1.3


def test_the_limits_are_settings():
    pieces = tone(0.5), tone(0.2, level=0.03), tone(0.5), rest(0.1)
    found = measured(*pieces, min_silence_ms=90, trim_silence_ms=200)
    assert (found["n_pauses"], found["n_middle_pauses"], found["trimmed_duration"]) == (2, 1, 1.3)
    assert measured(*pieces, silence_threshold_db=25.0)["n_pauses"] == 0


def test_no_pause_and_no_sound():
    found = measured(tone(1.0))
    assert (found["n_pauses"], found["mean_pause_seconds"], found["longest_pause_seconds"]) == (0, None, 0.0)
    assert (found["speech_ratio"], found["trimmed_duration"]) == (1.0, 1.0)
    faint = np.where(np.arange(RATE) == 8000, 9 / 32768, 0)  # in no window does its level reach one step
    found = measured(faint, text="a b")
    assert (found["speech_ratio"], found["trimmed_duration"], found["n_pauses"]) == (0.0, 0.0, 1)
    assert (found["words_per_second"], found["seconds_per_word"]) == (2.0, 0.5)
    for name in ("words_per_second_trimmed", "seconds_per_word_trimmed", "characters_per_second_trimmed"):
        assert found[name] is None


@pytest.mark.parametrize("n", [1, 2, 15, 100, 799, 800, 801, 2399, 2400, 5000])
def test_very_short_clips_have_what_can_be_had(n):
    found = measured(np.resize([0.1, -0.2, 0.3], n) if n > 1 else np.array([0.3, -0.3])[:2])
    assert found["audio_status"] == "ok"
    assert (found["n_pauses"], found["speech_ratio"]) == (0, 1.0)
    assert (found["voiced_share"] is None) == (n < 800)  # 50 ms
    assert (found["snr_db"] is None) == (n < 256 * 11)  # ten frames
    assert all(value is None or isinstance(value, str) or np.isfinite(value) for value in found.values())


@pytest.mark.parametrize(
    "samples",
    [
        tone(1.0) * 1e-3 + 0.9,
        np.full(RATE, 0.5) + noise(RATE) * 1e-4,
        np.eye(1, RATE, 99)[0],
        40 * tone(1.0),
        noise(99) * 1e5,
    ],
)
def test_odd_sound_gives_finite_numbers(samples):
    found = measured(np.asarray(samples, np.float32), text="x")
    assert found["audio_status"] == "ok"
    assert all(value is None or isinstance(value, str) or np.isfinite(value) for value in found.values()), found
    for name in ("speech_ratio", "clipped_share", "spectral_flatness", "voiced_share"):
        assert found[name] is None or 0 <= found[name] <= 1, name
    assert 0 <= found["trimmed_duration"] <= found["duration"]


def test_words_and_characters():
    texts = ["turn  it\toff\n", "", "  ", None, "ライトを消して", "cafe\u0301", "a\u00a0b"]
    clip = {"array": tone(2.0), "sampling_rate": RATE}
    found = hs.SpeechMetadata(text_column="said")({"audio": [clip] * 7, "said": texts})
    assert found["n_words"] == [3, 0, 0, None, 1, 1, 2]
    assert found["n_characters"] == [9, 0, 0, None, 7, 4, 2]
    assert found["words_per_second"] == [1.5, 0.0, 0.0, None, 0.5, 0.5, 1.0]
    assert found["seconds_per_word"] == [2 / 3, None, None, None, 2.0, 2.0, 1.0]
    assert found["characters_per_second"] == [4.5, 0.0, 0.0, None, 3.5, 2.0, 1.0]


def test_bad_clips_are_null_with_a_reason_and_their_words_are_counted():
    cut = {"bytes": wave_bytes(voice(1.0, 1), RATE, "WAV")[:16044], "path": None}
    outside = {"bytes": None, "path": "/etc/passwd"}
    clips = [
        None,
        {"bytes": b"RIFF??", "path": None},
        cut,
        flac(np.zeros(RATE, np.float32)),
        outside,
        flac(voice(1, 1)),
    ]
    found = hs.SpeechMetadata(text_column="text")({"audio": clips, "text": ["a b"] * 6})
    codes = [status.split(":")[0] for status in found["audio_status"]]
    assert codes == ["missing", "unreadable", "truncated", "silent", "refused", "ok"]
    for name in [*TIMING, *SOUND, *PITCH, *TEXT]:
        if name not in ("n_words", "n_characters"):
            assert found[name][:5] == [None] * 5, name
    assert found["n_words"] == [2] * 6
    assert found["duration"][5] == 1.0


def test_level_and_clipping_are_those_of_audio_quality(real_clips):
    batch = {"audio": real_clips}
    found, quality = hs.SpeechMetadata(pitch=False)(batch), AudioQuality()(batch)
    for name, theirs in (("duration", "seconds"), ("rms_dbfs", "rms_dbfs"), ("clipped_share", "clipped_share")):
        assert found[name] == quality[f"audio_{theirs}"], name


# a row's value is its own, and the form of a transform


def test_the_same_to_the_bit_in_any_batch_and_order(voices):
    clips = [flac(samples) for samples in voices] + [flac(voice(9.0, 3, 44100), 44100), None]
    assert_each_row_is_its_own(clips)


def test_real_clips_are_the_same_to_the_bit_in_any_batch_and_order(real_clips):
    assert_each_row_is_its_own(real_clips)


def assert_each_row_is_its_own(clips: list[dict[str, object] | None]) -> None:
    transform = hs.SpeechMetadata()
    alone = [transform({"audio": [clip]}) for clip in clips]
    whole = transform({"audio": clips})
    backwards = transform({"audio": clips[::-1]})
    for name, values in whole.items():
        assert values == [row[name][0] for row in alone] == backwards[name][::-1], name


def test_a_clip_of_many_blocks_is_measured_whole():
    samples = voice(3 * BLOCK * HOP + 0.123, 5)
    once, twice = measured(samples), measured(samples, samples)
    assert twice["f0_median_hz"] == pytest.approx(once["f0_median_hz"], rel=1e-2)
    assert twice["spectral_flatness"] == pytest.approx(once["spectral_flatness"], rel=2e-2)
    assert twice["rms_dbfs"] == pytest.approx(once["rms_dbfs"], abs=1e-9)
    assert twice["bandwidth_hz"] == once["bandwidth_hz"]


def test_the_container_changes_nothing():
    steps = np.rint(voice(1.0, 2) * 32768) / 32768
    encoded = [("WAV", None), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("FLAC", "PCM_24"), ("AIFF", None)]
    clips = [{"bytes": wave_bytes(steps, RATE, kind, subtype), "path": None} for kind, subtype in encoded]
    clips.append({"bytes": wave_bytes(np.stack([steps, steps], axis=1), RATE, "WAV"), "path": None})
    for name, values in hs.SpeechMetadata()({"audio": clips}).items():
        assert len(set(values)) == 1, name


def test_maps_streams_and_joins_with_its_features(tmp_path):
    ds = audio_table([flac(voice(0.5, 1)), None], text=["one two", None], duration=[9.0, 9.0])
    transform = hs.SpeechMetadata(text_column="text", prefix="speech_")
    kinds = {**ds.features, **transform.features}
    out = ds.map(transform, batched=True, features=type(ds.features)(kinds))
    assert out["speech_n_words"][:] == [2, None]
    assert out["duration"][:] == [9.0, 9.0]
    joined = with_columns(ds, transform, cache_dir=tmp_path)
    streamed = list(ds.to_iterable_dataset().decode(False).map(transform, batched=True, batch_size=1))
    for name in transform.features:
        assert joined[name][:] == out[name][:] == [row[name] for row in streamed], name
    with pytest.raises(ColumnError, match="'duration' already"):
        with_columns(ds, hs.SpeechMetadata(), cache_dir=tmp_path)


def test_the_columns_are_those_that_are_promised():
    names = [*TIMING, *SOUND, *PITCH, *TEXT]
    text = hs.SpeechMetadata.__doc__
    assert all(f"`{name}`" in text for name in names)
    assert list(hs.SpeechMetadata(text_column="t").features) == [*names, "audio_status"]
    assert list(hs.SpeechMetadata(pitch=False, status_column=None).features) == [*TIMING, *SOUND]
    plain, quick = measured(tone(1.0)), measured(tone(1.0), pitch=False)
    assert quick == {name: value for name, value in plain.items() if name not in PITCH}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"min_silence_ms": 0}, "min_silence_ms must be a whole number"),
        ({"trim_silence_ms": 1.5}, "trim_silence_ms must be a whole number"),
        ({"silence_threshold_db": -16.0}, "silence_threshold_db must be above 0"),
        ({"silence_threshold_db": float("nan")}, "silence_threshold_db must be above 0"),
        ({"status_column": "duration"}, "'duration'"),
    ],
)
def test_bad_settings_are_refused_at_once(config, message):
    with pytest.raises(ArgumentError, match=message):
        hs.SpeechMetadata(**config)


def test_missing_or_wrong_columns_are_named():
    with pytest.raises(ColumnError, match=r"no column 'said'.*audio"):
        hs.SpeechMetadata(text_column="said")({"audio": []})
    with pytest.raises(ColumnError, match=r"'label' must hold strings, and holds a int"):
        hs.SpeechMetadata(text_column="label")({"audio": [None], "label": [3]})


def test_hashes_the_same_in_another_process_and_after_use():
    from datasets.fingerprint import Hasher

    transform = hs.SpeechMetadata(text_column="text")
    assert pickle.loads(pickle.dumps(transform)) == transform
    code = (
        "from datasets.fingerprint import Hasher; import hf_select as hs, json; "
        "print(json.dumps([Hasher.hash(hs.SpeechMetadata(text_column='text')), Hasher.hash(hs.SpeechMetadata())]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    transform({"audio": [flac(voice(0.5, 1))], "text": ["a"]})
    mine, other = json.loads(done.stdout)
    assert mine == Hasher.hash(transform)
    assert mine != other


def test_agrees_with_what_the_packs_say():
    rows = pack("an4_dev", "duration", "rms_db", "n_words", "words_per_second")
    rows["text"] = [" ".join("w" * n) for n in rows["n_words"]]
    found = hs.SpeechMetadata(text_column="text", pitch=False)(rows)
    np.testing.assert_allclose(found["duration"], rows["duration"], atol=0.00051)
    np.testing.assert_allclose(found["rms_dbfs"], rows["rms_db"], atol=0.0051)
    np.testing.assert_allclose(found["words_per_second"], rows["words_per_second"], atol=0.00051)
