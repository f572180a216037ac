"""Reading clips: what comes out of whole ones, of parts, of silence and nonsense; and that bad ones stop nothing."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import soundfile as sf
import soxr

from hf_select import audio as module
from hf_select.audio import STATUS, Clip, read_clip, wave_bytes
from hf_select.errors import AudioError
from hf_select.sound.foreign import torchcodec_decoder

SHARED = Path(__file__).resolve().parents[2] / "shared"
WHOLE = [
    *(
        ("WAV", s)
        for s in (
            "PCM_U8",
            "PCM_16",
            "PCM_24",
            "PCM_32",
            "FLOAT",
            "DOUBLE",
            "ULAW",
            "ALAW",
            "IMA_ADPCM",
            "MS_ADPCM",
            "GSM610",
        )
    ),
    *(("AIFF", s) for s in ("PCM_S8", "PCM_16", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM")),
    *(("AU", s) for s in ("PCM_16", "FLOAT", "ALAW", "G721_32")),
    *(("CAF", s) for s in ("PCM_16", "FLOAT", "ALAC_16")),
    *((kind, "PCM_16") for kind in ("WAVEX", "RF64", "W64", "NIST", "FLAC")),
    *(("OGG", s) for s in ("VORBIS", "OPUS")),
    ("MP3", None),
]


UNDECLARED = [("AU", "G721_32"), ("AIFF", "IMA_ADPCM")]  # their headers count bytes or packets, in ways that differ


def sound(frames: int = 16000, rate: int = 16000, channels: int = 1, seed: int = 0) -> np.ndarray:
    t = np.arange(frames) / rate
    x = 0.3 * np.sin(2 * np.pi * (200 + 100 * t) * t) + 0.02 * np.random.default_rng(seed).standard_normal(frames)
    return x if channels == 1 else np.stack([x / (c + 1) for c in range(channels)], axis=1)


def by_soundfile(data: bytes) -> np.ndarray:
    return sf.read(io.BytesIO(data), dtype="float32", always_2d=True)[0].mean(axis=1)


# ---------------------------------------------------------------- whole clips


@pytest.mark.parametrize(("kind", "subtype"), WHOLE)
def test_a_whole_clip_is_what_soundfile_reads_and_as_long_as_it_says(kind: str, subtype: str | None):
    forms = ((16000, 16000, 1), (8001, 8000, 1), (9999, 16000, 2), (1, 16000, 1), (70000, 48000, 1))
    for frames, rate, channels in forms:
        if subtype in ("GSM610", "G721_32") and channels > 1:
            continue
        data = wave_bytes(sound(frames, rate, channels) + 0.01, rate, kind, subtype)
        clip = read_clip({"bytes": data, "path": "a"})
        expected = by_soundfile(data)
        if frames == 1:  # one frame is one value: no sound
            assert clip.status in ("silent", "ok"), clip
            continue
        assert clip.status == "ok", clip
        assert (clip.sampling_rate, clip.source_rate, clip.channels) == (rate, rate, channels)
        np.testing.assert_allclose(clip.samples, expected, atol=1e-6 if kind == "MP3" else 0, rtol=0)
        assert clip.duration == len(expected) / rate
        if (kind, subtype) not in UNDECLARED:
            assert clip.declared == pytest.approx(
                clip.duration, abs=600 / rate if subtype in ("IMA_ADPCM", "MS_ADPCM", "GSM610") else 1e-9
            )


def test_a_long_clip_is_read_in_blocks_and_is_the_same(monkeypatch: pytest.MonkeyPatch):
    for kind, subtype in (("WAV", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("MP3", None)):
        data = wave_bytes(sound(50001, 16000, 2), 16000, kind, subtype)
        whole = read_clip(data)
        monkeypatch.setattr(module, "BLOCK", 1000)
        blocks = read_clip(data)
        monkeypatch.undo()
        np.testing.assert_array_equal(whole.samples, blocks.samples)


def test_resampling_is_soxr_on_this_clip_alone():
    x = sound(12345, 44100)
    data = wave_bytes(x, 44100, "WAV", "FLOAT")
    clip = read_clip(data, sampling_rate=16000)
    np.testing.assert_array_equal(clip.samples, soxr.resample(x.astype(np.float32), 44100, 16000, quality="HQ"))
    assert (clip.sampling_rate, clip.source_rate, clip.duration) == (16000, 44100, 12345 / 44100)
    np.testing.assert_array_equal(read_clip(data, sampling_rate=44100).samples, read_clip(data).samples)
    assert read_clip(wave_bytes([0.1, 0.5], 48000, "WAV"), sampling_rate=1000).status == "empty"


def test_arrays_decoders_bytes_and_paths_are_rows_too(tmp_path: Path):
    x = sound(2000, 8000, 2).astype(np.float32)
    data = wave_bytes(x, 8000, "WAV", "FLOAT")
    mono = x.mean(axis=1)
    decoder = types.SimpleNamespace(_hf_encoded={"bytes": data, "path": None})
    rows = [data, bytearray(data), {"array": x, "sampling_rate": 8000}, {"array": x.T, "sampling_rate": 8000}, decoder]
    (tmp_path / "a.wav").write_bytes(data)
    for clip in [
        *map(read_clip, rows),
        read_clip("a.wav", audio_root=tmp_path),
        read_clip(tmp_path / "a.wav", audio_root=str(tmp_path)),
    ]:
        assert clip.status == "ok", clip
        np.testing.assert_array_equal(clip.samples, mono)
    halves = (x * 32768).astype(np.int16)
    np.testing.assert_allclose(read_clip({"array": halves, "sampling_rate": 8000}).samples, mono, atol=5e-5)
    assert read_clip({"array": list(mono), "sampling_rate": 8000}, start=0.1, end=0.2).duration == 0.1
    for bad in (
        {"array": ["a"], "sampling_rate": 8000},
        {"array": x},
        {"array": np.zeros((2, 2, 2)), "sampling_rate": 8000},
        5,
        object(),
        [1.0],
        {"bytes": "text", "path": None},
        {"bytes": 5},
    ):
        assert read_clip(bad).status == "unreadable"
    assert read_clip({"array": x, "sampling_rate": 8000}, max_seconds=0.1).status == "too_long"


def test_null_rows_are_missing():
    for row in (None, {}, {"bytes": None, "path": None}, {"bytes": None, "path": ""}):
        assert read_clip(row).status == "missing"
    assert read_clip({"bytes": b"", "path": "a.wav"}).status == "empty"


def test_a_clip_can_be_pickled_and_says_what_it_is():
    clip = pickle.loads(pickle.dumps(read_clip(wave_bytes(sound(100), 16000))))
    assert clip.ok and len(clip.samples) == 100 and "samples" not in repr(clip)
    assert not Clip(status="empty").ok
    assert len(set(STATUS)) == 10


def test_threads_read_the_same():
    rows = [
        wave_bytes(sound(4000 + n, seed=n), 16000, kind) for n in range(10) for kind in ("FLAC", "MP3", "OGG", "WAV")
    ]
    alone = [read_clip(row).samples for row in rows]
    with ThreadPoolExecutor(8) as pool:
        for one, other in zip(alone * 3, pool.map(lambda row: read_clip(row).samples, rows * 3), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sampling_rate": 0},
        {"sampling_rate": 10**6},
        {"start": -1},
        {"start": float("nan")},
        {"start": 2, "end": 2},
        {"end": 0},
        {"end": float("nan")},
        {"max_seconds": 0},
        {"max_seconds": float("nan")},
    ],
)
def test_a_wrong_argument_is_an_error(wrong: dict[str, float]):
    with pytest.raises(AudioError, match=next(iter(wrong))):
        read_clip(None, **wrong)


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize(("kind", "subtype"), [w for w in WHOLE if w != ("AU", "G721_32")])
def test_a_part_is_a_slice_of_the_whole(kind: str, subtype: str | None):
    data = wave_bytes(sound(24000), 16000, kind, subtype)
    whole = read_clip(data)
    for start, end in ((None, 0.5), (0.25, None), (0.3, 0.7), (1.2, 9.0), (0.50001, 0.5005), (1.0, float("inf"))):
        clip = read_clip(data, start=start, end=end)
        expected = whole.samples[
            round((start or 0) * 16000) : None if end in (None, float("inf")) else round(end * 16000)
        ]
        assert clip.status == "ok", clip
        np.testing.assert_allclose(clip.samples, expected, atol=1e-6, rtol=0)
        assert clip.duration == len(expected) / 16000 and clip.declared == whole.declared
    late = read_clip(data, start=whole.duration)
    assert (late.status, late.duration) == ("empty", 0.0)
    assert read_clip(data, start=1e9, end=2e9).status == read_clip(data, start=1e308).status == "empty"


def test_only_the_part_that_is_read_is_checked():
    data = wave_bytes(sound(32000), 16000, "WAV")[:32044]
    assert read_clip(data).detail == "16000 of 32000 frames"
    assert read_clip(data, start=0.2, end=1.0).ok
    half = read_clip(data, start=0.5, end=1.5)
    assert (half.status, half.detail, half.duration) == ("truncated", "16000 of 32000 frames", 0.5)
    assert read_clip(data, start=1.2).status == "truncated"
    assert read_clip(data, start=2.0).status == "empty"
    flac = wave_bytes(sound(64000), 16000, "FLAC")
    assert read_clip(flac[: len(flac) // 2], start=0.5, end=0.8).ok


def test_too_long_counts_the_part():
    data = wave_bytes(sound(32000), 16000, "FLAC")
    whole = read_clip(data, max_seconds=1.9)
    assert (whole.status, whole.duration, whole.declared) == ("too_long", 0.0, 2.0)
    assert "max_seconds=1.9" in whole.detail
    assert read_clip(data, max_seconds=2.0).ok
    assert read_clip(data, max_seconds=float("inf")).ok
    assert read_clip(data, max_seconds=0.6, start=1.0, end=1.5).ok
    assert read_clip(data, max_seconds=0.4, start=1.0, end=1.5).status == "too_long"


# ---------------------------------------------------------------- sound that is none


@pytest.mark.parametrize(
    ("samples", "status"),
    [
        (np.zeros(1000), "silent"),
        (np.full(1000, 0.7), "silent"),
        (np.tile([0.0, 1.9e-4], 500), "silent"),
        (np.tile([0.0, 2.2e-4], 500), "ok"),
        (np.stack([np.sin(np.arange(1000)), -np.sin(np.arange(1000))], 1), "silent"),  # the channels cancel
        (np.r_[np.sin(np.arange(99)), np.nan], "nonfinite"),
        (np.r_[np.sin(np.arange(99)), np.inf], "nonfinite"),
        (np.r_[np.sin(np.arange(99)), -np.inf], "nonfinite"),
        (np.stack([np.r_[0, np.inf, 0], np.r_[0, -np.inf, 1]], 1), "nonfinite"),
        (np.stack([np.r_[0, 3.4e38, 0], np.r_[0, 3.4e38, 1]], 1), "nonfinite"),  # the sum overflows
        (np.stack([np.r_[0, 1e30, 0], np.r_[0, -1e30, 1]], 1), "nonfinite"),  # the mean is zero
        (np.r_[0.0, 1e30], "nonfinite"),
        (np.r_[0.0, 1.1e6], "nonfinite"),
        (np.r_[0.0, 9e5], "ok"),
    ],
)
def test_silence_and_nonsense(samples: np.ndarray, status: str):
    samples = samples.astype(np.float32)
    for row in (wave_bytes(samples, 16000, "WAV", "FLOAT"), {"array": samples, "sampling_rate": 16000}):
        clip = read_clip(row)
        assert (clip.status, clip.duration) == (status, len(samples) / 16000)
        assert len(clip.samples) == (len(samples) if status == "ok" else 0)
        assert bool(clip.detail) == (status != "ok")


# ---------------------------------------------------------------- torchcodec, where it loads


class FakeDecoder:
    """Stands for torchcodec's AudioDecoder, with the four things of it that are used."""

    made: ClassVar[list[bytes]] = []

    def __init__(self, source: bytes) -> None:
        self.made.append(source)
        self.metadata = types.SimpleNamespace(sample_rate=8000, num_channels=2, duration_seconds_from_header=1.0)
        self.frames = 8000 if source.endswith(b"whole") else 3000

    def get_samples_played_in_range(self, start: float, stop: float) -> types.SimpleNamespace:
        data = sound(8000, 8000, 2).T[:, : self.frames][:, round(start * 8000) : round(stop * 8000)].astype(np.float32)
        return types.SimpleNamespace(data=types.SimpleNamespace(numpy=lambda: data), sample_rate=8000)


def test_a_foreign_container_goes_to_torchcodec_as_bytes(monkeypatch: pytest.MonkeyPatch):
    fake = types.ModuleType("torchcodec.decoders")
    fake.AudioDecoder = FakeDecoder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchcodec", types.ModuleType("torchcodec"))
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", fake)
    torchcodec_decoder.cache_clear()
    try:
        clip = read_clip(b"\0\0\0\x20ftypM4A whole", sampling_rate=16000)
        assert clip.ok and (clip.duration, clip.declared, len(clip.samples)) == (1.0, 1.0, 16000)
        assert read_clip(b"\x1a\x45\xdf\xa3 whole", start=0.25, end=0.5).duration == 0.25
        assert read_clip(b"\x1a\x45\xdf\xa3 cut").detail == "3000 of 8000 frames"
        assert read_clip(b"\xff\xf1 whole", max_seconds=0.5).status == "too_long"
        assert read_clip(FakeDecoder(b"whole")).ok
        FakeDecoder.made.clear()
        for text in (
            b"#EXTM3U\nhttp://127.0.0.1/a.ts",
            b"ffconcat version 1.0\nfile /etc/passwd",
            b"<?xml version='1.0'?><MPD/>",
        ):
            assert read_clip(text).status == "unreadable"
        assert not FakeDecoder.made  # what FFmpeg would follow to other files never reaches it
    finally:
        torchcodec_decoder.cache_clear()


@pytest.mark.parametrize("error", [ImportError, OSError, RuntimeError])
def test_a_torchcodec_that_does_not_load_is_tried_once(monkeypatch: pytest.MonkeyPatch, error: type[Exception]):
    tries = []

    class Finder:
        def find_spec(self, name: str, *_: object) -> None:
            if name.startswith("torchcodec"):
                tries.append(name)
                raise error("libavutil.so.59: cannot open shared object file")

    for name in [n for n in sys.modules if n.startswith("torchcodec")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    torchcodec_decoder.cache_clear()
    try:
        for _ in range(3):
            clip = read_clip(b"\0\0\0\x20ftypM4A ")
            assert clip.status == "unreadable" and "torchcodec" in clip.detail
        assert len(tries) == 1
    finally:
        torchcodec_decoder.cache_clear()


# ---------------------------------------------------------------- the house


def test_importing_it_loads_nothing_heavy():
    code = "import sys, hf_select.audio; print([m for m in ('soundfile', 'soxr', 'torch', 'datasets', 'librosa') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


@pytest.mark.parametrize("pack", ["speech_commands_dev", "an4_dev", "alnum_accents_dev", "fsdd", "emodb_2s"])
def test_real_speech_has_no_false_flags(pack: str):
    path = SHARED / "data" / f"{pack}.parquet"
    if not path.exists():
        pytest.skip(f"{path.name} is not here: shared data lies beside the checkout, in ../shared")
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["audio", "duration"] if pack != "fsdd" else ["audio"])
    for number, row in enumerate(table.column("audio").to_pylist()):
        clip = read_clip(row)
        assert clip.ok and clip.declared == clip.duration, (number, clip)
        if "duration" in table.column_names:
            assert clip.duration == pytest.approx(table.column("duration")[number].as_py(), abs=1e-3)


def test_the_really_broken_flac():
    path = SHARED / "data" / "fixtures" / "corrupt_alexa_273.flac"
    if not path.exists():
        pytest.skip("corrupt_alexa_273.flac is not here: shared data lies beside the checkout, in ../shared")
    clip = read_clip(path.read_bytes())
    assert (clip.status, clip.source_rate, clip.declared) == ("unreadable", 16000, 3.34)
    assert clip.detail.startswith("flac decoder lost sync after 1.4")
    assert read_clip(path.read_bytes(), end=1.0).ok
