"""Cropped clips hold what lies between start and end, and nothing else of the clip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from datasets import Audio, Dataset, load_dataset

import hf_select as hs
from hf_select.audio import read_clip, wave_bytes
from hf_select.errors import ArgumentError, ColumnError


def corpus():
    rng = np.random.default_rng(0)
    waves = [rng.uniform(-0.5, 0.5, 16000 + 800 * row).astype(np.float32) for row in range(6)]
    clips = [{"bytes": wave_bytes(wave, 16000, "WAV"), "path": f"deep/in/{row}.wav"} for row, wave in enumerate(waves)]
    clips[4] = {"bytes": b"no sound", "path": "4.wav"}
    bounds = {"segment_start": [0.1, 0.5, None, 0.0, 0.0, 9.0], "segment_end": [0.35, None, 0.2, 0.3, 0.3, 9.5]}
    ds = Dataset.from_dict({"audio": clips, "label": list("abcabc"), **bounds})
    return waves, ds.cast_column("audio", Audio(decode=False))


def test_segments_are_cut_and_stored(tmp_path):
    waves, ds = corpus()
    cut = hs.CropAudio().crop(ds)
    for row, (start, end) in enumerate([(1600, 5600), (8000, None), (0, 3200), (0, 4800)]):
        clip = read_clip(cut[row]["audio"])
        assert clip.sampling_rate == 16000 and np.abs(clip.samples - waves[row][start:end]).max() < 1e-4
        assert cut[row]["audio"]["path"] == f"{row}.flac"
    assert cut["audio_status"][:4] == ["ok"] * 4
    assert cut["audio_status"][4].startswith("unreadable") and cut["audio_status"][5].startswith("empty")
    assert cut[4]["audio"] is None and cut[5]["audio"] is None
    assert cut.column_names == [*ds.column_names, "audio_status"] and isinstance(cut.features["audio"], Audio)
    cut.to_parquet(tmp_path / "cut.parquet")
    again = load_dataset(
        "parquet", data_files=str(tmp_path / "cut.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert again.cast_column("audio", Audio(decode=False))[0]["audio"]["bytes"] == cut[0]["audio"]["bytes"]


def test_another_rate_and_format():
    _, ds = corpus()
    cut = hs.CropAudio(sampling_rate=8000, format="WAV").crop(ds.select([0, 3]))
    assert [read_clip(row["audio"]).duration for row in cut] == pytest.approx([0.25, 0.3], abs=1e-3)
    assert cut[0]["audio"]["bytes"][:4] == b"RIFF" and read_clip(cut[0]["audio"]).sampling_rate == 8000


def test_what_was_chosen_is_cut():
    ds = corpus()[1].select(range(4)).remove_columns(["segment_start", "segment_end"])
    some = hs.select_random(ds, budget=2, seed=0)
    sel = replace(some, segment_start=np.array([0.2, 0.3]), segment_end=np.array([0.4, 0.6]))
    cut = hs.CropAudio().crop(sel.apply(ds))
    assert [read_clip(row["audio"]).duration for row in cut] == pytest.approx([0.2, 0.3], abs=1e-3)


def test_bad_input():
    with pytest.raises(ArgumentError, match="format is 'FLAC' or 'WAV'; got 'OGG'"):
        hs.CropAudio(format="OGG")
    with pytest.raises(ColumnError, match="no column 'segment_start'"):
        hs.CropAudio()({"audio": []})
