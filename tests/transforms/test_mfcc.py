"""MFCC equals librosa clip by clip, gives a row the same value in any company, and hashes stably."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest

from hf_select.errors import ColumnError, MissingPackageError
from hf_select.transforms import MFCC, Duration, cepstrum, mfcc
from hf_select.transforms.cepstrum import cepstra, cepstral_statistics

from .conftest import audio_table, flac, voice

SETTINGS = {
    "default": {},
    "meltrim": {"preemphasis": 0.97},
    "librosa": {"n_fft": 2048, "win_length": 2048, "hop_length": 512, "n_mels": 128},
    "uncentred": {"center": False},
    "htk": {
        "window": "hamming",
        "fmin": 20.0,
        "fmax": 7600.0,
        "n_mfcc": 13,
        "n_mels": 23,
        "lifter": 22,
        "center": False,
    },
    "no_limit": {"top_db": None},
    "limit_20": {"top_db": 20.0},
    "kaiser": {"window": ("kaiser", 4.0)},
    "odd": {"n_fft": 405, "win_length": 399, "hop_length": 97},
    "sparse_hops": {"hop_length": 700},
}
each_setting = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())


def by_librosa(samples: np.ndarray, t: MFCC) -> np.ndarray:
    """Call librosa on one clip, as its user would; (frames, n_mfcc)."""
    import librosa

    if t.preemphasis is not None:
        samples = librosa.effects.preemphasis(samples, coef=t.preemphasis)
    if not t.center:
        samples = np.pad(samples, (0, max(t.n_fft - len(samples), 0)))
    power = librosa.feature.melspectrogram(
        y=samples,
        sr=t.sampling_rate,
        n_fft=t.n_fft,
        win_length=t.win_length,
        hop_length=t.hop_length,
        n_mels=t.n_mels,
        fmin=t.fmin,
        fmax=t.fmax,
        window=t.window,
        center=t.center,
        power=2,
    )
    levels = librosa.power_to_db(power, top_db=t.top_db)
    return librosa.feature.mfcc(S=levels, n_mfcc=t.n_mfcc, lifter=t.lifter).T


def arrays(voices: list[np.ndarray]) -> dict[str, list[dict[str, object]]]:
    return {"audio": [{"array": samples, "sampling_rate": 16000} for samples in voices]}


def same_rows(left: list[np.ndarray], right: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def farthest(left: list[np.ndarray], right: list[np.ndarray]) -> float:
    assert [a.shape for a in left] == [b.shape for b in right]
    return max(float(np.abs(a - b).max()) for a, b in zip(left, right, strict=True))


# --- the values ---------------------------------------------------------------------------------------------------


@each_setting
@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.filterwarnings("ignore:n_fft=.* is too large for input signal")
def test_equals_librosa_clip_by_clip(voices, settings, backend):
    transform = MFCC(**settings, backend=backend)
    ours = transform(arrays(voices))["mfcc"]
    assert all(rows.dtype == np.float32 for rows in ours)
    assert farthest(ours, [by_librosa(samples, transform) for samples in voices]) < 1e-3


@each_setting
@pytest.mark.filterwarnings("ignore:n_fft=.* is too large for input signal")
def test_equals_librosa_on_real_speech(real_clips, settings):
    from hf_select.audio import read_clip

    transform = MFCC(**settings)
    theirs = [by_librosa(read_clip(clip, sampling_rate=16000).samples, transform) for clip in real_clips]
    assert farthest(transform({"audio": real_clips})["mfcc"], theirs) < 1e-3


def test_resamples_to_its_rate():
    low = {"array": voice(0.5, 1, rate=8000), "sampling_rate": 8000}
    rows = MFCC()({"audio": [low]})["mfcc"][0]
    assert rows.shape == (51, 20)
    import soxr

    assert np.abs(rows - by_librosa(soxr.resample(low["array"], 8000, 16000), MFCC())).max() < 1e-3


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("hop_length", [1, 7, 64, 100])
def test_number_of_frames(center, hop_length):
    import librosa

    recipe = MFCC(n_fft=64, win_length=64, hop_length=hop_length, n_mels=4, n_mfcc=4, center=center).recipe
    lengths = [64, 65, 127, 128, 164, 200]
    signals = [voice(length / 16000, length) for length in lengths]
    wanted = [librosa.stft(s, n_fft=64, hop_length=hop_length, center=center).shape[1] for s in signals]
    assert [len(rows) for rows in cepstra(signals, recipe)] == wanted


@pytest.mark.parametrize("samples", [1, 2, 3, 100, 511])
@pytest.mark.parametrize("settings", [{}, {"center": False}, {"preemphasis": 0.97}])
def test_clips_shorter_than_a_frame_are_padded(samples, settings):
    rows = cepstra([voice(0.1, 3)[:samples]], MFCC(**settings).recipe)[0]
    assert rows.shape == (1 + samples // 160 if settings.get("center", True) else 1, 20)
    assert np.isfinite(rows).all()


# --- a row's value is its own ---------------------------------------------------------------------------------------


@each_setting
def test_value_does_not_depend_on_the_batch(voices, settings):
    transform = MFCC(**settings)
    together = transform(arrays(voices))["mfcc"]
    order = np.random.default_rng(0).permutation(len(voices))
    shuffled = transform(arrays([voices[i] for i in order]))["mfcc"]
    assert same_rows(shuffled, [together[i] for i in order])
    for size in (1, 8, 64):
        cuts = [*range(0, len(voices), size), len(voices)]
        batched = [rows for a, b in pairwise(cuts) for rows in transform(arrays(voices[a:b]))["mfcc"]]
        assert same_rows(batched, together)


def test_value_does_not_depend_on_the_group(voices, monkeypatch):
    whole = MFCC()(arrays(voices))["mfcc"]
    monkeypatch.setattr(mfcc, "GROUP_FRAMES", 150)
    assert same_rows(MFCC()(arrays(voices))["mfcc"], whole)


def test_the_decibel_limit_is_the_clips_own(voices):
    quiet, loud = voices[0] * 1e-3, np.ones(16000, np.float32)
    alone = MFCC(top_db=20.0)(arrays([quiet]))["mfcc"][0]
    assert np.array_equal(MFCC(top_db=20.0)(arrays([loud, quiet]))["mfcc"][1], alone)


def test_memory_does_not_grow_with_the_batch(monkeypatch):
    groups = []
    real = cepstrum.numpy_cepstra
    monkeypatch.setitem(cepstrum.BACKENDS, "numpy", lambda s, r, d: groups.append(len(s)) or real(s, r, d))
    monkeypatch.setattr(mfcc, "GROUP_FRAMES", 1000)
    MFCC(pool="stats")(arrays([voice(1.0, 0)] * 95))
    assert groups == [10] * 9 + [5]  # 101 frames a clip


# --- pooled statistics ------------------------------------------------------------------------------------------------


def test_statistics_by_hand():
    ramp = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]], np.float32)
    # slopes with both ends repeated: (1*1 + 2*2)/10, (1*2 + 2*3)/10, (1*2 + 2*4)/10, and back
    slopes = [0.5, 0.8, 1.0, 0.8, 0.5]
    assert np.allclose(cepstral_statistics(ramp), [2.0, np.sqrt(2.0), np.std(slopes)])


def test_statistics_agree_with_librosa_deltas(voices):
    import librosa

    frames = MFCC()(arrays(voices))["mfcc"]
    pooled = MFCC(pool="stats")(arrays(voices))["mfcc_stats"]
    for rows, vector in zip(frames, pooled, strict=True):
        deltas = librosa.feature.delta(rows.astype(np.float64), width=5, axis=0, mode="nearest")
        wanted = np.concatenate([rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64), deltas.std(0)])
        assert vector.dtype == np.float32
        assert np.abs(vector - wanted).max() < 1e-4


def test_statistics_of_one_frame_have_no_deviation():
    frame = np.arange(5, dtype=np.float32)[None]
    assert np.array_equal(cepstral_statistics(frame), [0, 1, 2, 3, 4] + [0] * 10)


# --- in a dataset -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["none", "stats"])
@pytest.mark.parametrize("declared", [False, True])
def test_maps_a_decoding_column_and_survives_bad_clips(pool, declared):
    broken = {"bytes": b"this is no sound", "path": "broken.wav"}
    ds = audio_table([None, flac(voice(0.5, 1)), broken, flac(voice(0.7, 2))])
    transform = MFCC(pool=pool, duration_column="seconds")
    features = type(ds.features)({**ds.features, **transform.features}) if declared else None
    out = ds.map(transform, batched=True, batch_size=3, features=features).remove_columns("audio")
    assert [status.split(":")[0] for status in out["audio_status"]] == ["missing", "ok", "unreadable", "ok"]
    assert out["seconds"][:] == [None, 0.5, None, 0.7]
    column = out[transform.output_column][:]
    assert [value is None for value in column] == [True, False, True, False]
    assert np.shape(column[1]) == ((51, 20) if pool == "none" else (60,))
    if declared:
        assert {name: out.features[name] for name in transform.features} == transform.features


def test_declared_features_serve_a_batch_of_bad_clips():
    ds = audio_table([None, None, flac(voice(0.2, 1))])
    transform = MFCC(pool="stats")
    out = ds.map(
        transform, batched=True, batch_size=2, features=type(ds.features)({**ds.features, **transform.features})
    )
    assert [value is None for value in out["mfcc_stats"]] == [True, True, False]


def test_nothing_decodes_but_read_clip(monkeypatch):
    from datasets import Audio

    def poisoned(*args, **kwargs):
        raise AssertionError("datasets decoded a clip")

    ds = audio_table([flac(voice(0.5, 1))])
    monkeypatch.setattr(Audio, "decode_example", poisoned)
    assert len(ds.map(MFCC(), batched=True).remove_columns("audio")["mfcc"][0]) == 51
    stream = ds.to_iterable_dataset().decode(False).map(MFCC(pool="stats"), batched=True)
    assert len(next(iter(stream))["mfcc_stats"]) == 60


def test_columns_have_the_names_that_were_asked_for(voices):
    transform = MFCC(mfcc_column="m", duration_column="d", status_column=None, column="sound")
    out = transform({"sound": arrays(voices)["audio"]})
    assert list(out) == ["m", "d"] == list(transform.features)
    assert out["d"] == Duration(column="sound")({"sound": arrays(voices)["audio"]})["duration"]


def test_missing_column_names_those_there_are():
    with pytest.raises(ColumnError, match=r"no column 'audio'.*speech, label"):
        MFCC()({"speech": [], "label": []})


def test_an_empty_batch_gives_empty_columns():
    assert MFCC()({"audio": []}) == {"mfcc": [], "audio_status": []}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"n_mfcc": 41}, "41 coefficients can't come from 40"),
        ({"n_mfcc": 0}, "n_mfcc must be a whole number of at least 1"),
        ({"win_length": 513}, "513 samples does not fit in 512"),
        ({"hop_length": 0}, "hop_length"),
        ({"hop_length": 2.5}, "hop_length must be a whole number"),
        ({"fmax": 8001.0}, "fmax=8001.0"),
        ({"fmin": -1.0}, "fmin=-1.0"),
        ({"fmin": 4000.0, "fmax": 4000.0}, "fmin < fmax"),
        ({"top_db": -1.0}, "top_db"),
        ({"lifter": -1}, "lifter"),
        ({"preemphasis": 0.0}, "preemphasis"),
        ({"preemphasis": 1.5}, "preemphasis"),
        ({"window": [1.0]}, "window"),
        ({"pool": "mean"}, '"none" or "stats"'),
        ({"backend": "jax"}, "numpy, torch, torchaudio"),
        ({"device": "cuda"}, "device='cuda' needs backend=\"torch\""),
        ({"duration_column": "mfcc"}, "different names"),
    ],
)
def test_settings_without_meaning_are_refused_at_once(settings, said):
    with pytest.raises(ValueError, match=said):
        MFCC(**settings)


# --- other backends -----------------------------------------------------------------------------------------------------


def test_torch_works_piece_by_piece(voices, monkeypatch):
    whole = MFCC()(arrays(voices))["mfcc"]
    monkeypatch.setattr(cepstrum, "TORCH_FRAMES", 64)
    assert farthest(MFCC(backend="torch", device="cpu")(arrays(voices))["mfcc"], whole) < 1e-3


def test_torch_on_cuda(voices):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    on_gpu = MFCC(backend="torch", device="cuda")(arrays(voices))["mfcc"]
    assert farthest(on_gpu, MFCC()(arrays(voices))["mfcc"]) < 1e-3


@each_setting
def test_torchaudio_agrees(voices, settings):
    try:
        import torchaudio  # noqa: F401
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        pytest.skip(f"torchaudio does not load here: {error}")
    theirs = MFCC(**settings, backend="torchaudio")(arrays(voices))["mfcc"]
    assert farthest(theirs, MFCC(**settings)(arrays(voices))["mfcc"]) < 1e-3


@pytest.mark.parametrize(
    "error", ["ImportError('no such package')", "OSError('libc10_cuda.so')", "RuntimeError('CUDA')"]
)
def test_missing_or_broken_torchaudio_is_named_with_the_cure(error, voices, monkeypatch, tmp_path):
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio" / "__init__.py").write_text(f"raise {error}\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingPackageError, match=r'pip install "hf-select\[torchaudio\]"') as caught:
        MFCC(backend="torchaudio")(arrays(voices))
    assert error.split("'")[1] in str(caught.value)
    assert error.split("(")[0] in str(caught.value)


# --- fingerprints ---------------------------------------------------------------------------------------------------------

HASH = "from datasets.fingerprint import Hasher; from hf_select.transforms import MFCC; print(Hasher.hash({}))"


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_hash_is_the_same_in_another_process_and_after_use(voices):
    from datasets.fingerprint import Hasher

    transform = MFCC(n_mfcc=13, pool="stats")
    before = Hasher.hash(transform)
    transform(arrays(voices))
    assert Hasher.hash(transform) == before == run_python(HASH.format("MFCC(n_mfcc=13, pool='stats')"))
    assert Hasher.hash(pickle.loads(pickle.dumps(transform))) == before


CHANGES = {
    "column": "speech",
    "sampling_rate": 22050,
    "n_mfcc": 13,
    "n_fft": 1024,
    "win_length": 320,
    "hop_length": 80,
    "n_mels": 64,
    "fmin": 20.0,
    "fmax": 7000.0,
    "window": "hamming",
    "center": False,
    "preemphasis": 0.97,
    "top_db": None,
    "lifter": 22,
    "pool": "stats",
    "mfcc_column": "m",
    "duration_column": "d",
    "backend": "torch",
    "device": "cpu",
    "audio_root": "clips",
    "max_seconds": 30.0,
    "status_column": None,
}


def test_hash_changes_with_every_field_and_with_the_revision(monkeypatch):
    from datasets.fingerprint import Hasher

    assert set(CHANGES) == {field.name for field in fields(MFCC)}
    base = MFCC(backend="torch")
    changed = [replace(base, **{name: value}) for name, value in CHANGES.items() if name != "backend"]
    hashes = {Hasher.hash(transform) for transform in [base, MFCC(), *changed]}
    assert len(hashes) == len(CHANGES) + 1
    monkeypatch.setattr(MFCC, "revision", MFCC.revision + 1)
    assert Hasher.hash(base) not in hashes


def test_a_pickled_transform_is_equal_and_works(voices):
    transform = MFCC(preemphasis=0.97, window=("kaiser", 4.0))
    again = pickle.loads(pickle.dumps(transform))
    assert again == transform
    assert same_rows(again(arrays(voices))["mfcc"], transform(arrays(voices))["mfcc"])


def test_map_finds_its_cache_in_a_second_process(tmp_path):
    audio_table([flac(voice(0.3, seed)) for seed in range(4)]).save_to_disk(tmp_path / "saved")
    code = (
        "import datasets, os; from hf_select.transforms import MFCC; datasets.disable_progress_bars();"
        f"ds = datasets.load_from_disk({str(tmp_path / 'saved')!r}).map(MFCC(), batched=True);"
        "name = ds.cache_files[0]['filename']; print(name, os.stat(name).st_mtime_ns)"
    )
    first, second = run_python(code), run_python(code)
    assert "cache-" in first
    assert first == second
    assert len(list((tmp_path / "saved").glob("cache-*.arrow"))) == 1


def test_importing_transforms_loads_nothing_heavy():
    heavy = ("torch", "datasets", "librosa", "transformers", "soundfile", "scipy")
    assert run_python(f"import sys, hf_select.transforms; print([m for m in {heavy!r} if m in sys.modules])") == "[]"
