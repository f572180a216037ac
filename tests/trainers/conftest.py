"""What tests of scripts share: scripts as modules, a cache for a module, a pack of tones by people of whom something is known."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "training")]  # so that tests may import scripts.py and launch.py
PITCHES = {"high": 1500, "low": 300, "middle": 700}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder, and in it a cache for the module: the one of conftest is another for every test."""
    place = tmp_path_factory.mktemp("module")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", place / "cache")
        yield place


@pytest.fixture(scope="module")
def people(folder):
    """240 tones of half a second by 20 speakers; women's tones in noise are shifted, and rare in the first half."""
    rng, rows = np.random.default_rng(0), []
    for number in range(240):
        word = ("high", "low", "middle")[number % 3]
        speaker = number // 3 % 20
        gender, noisy = "fm"[speaker % 2], bool(rng.random() < 0.4)
        pitch = PITCHES[word] * rng.uniform(0.9, 1.1) * (1.6 if gender == "f" and noisy else 1)
        wave = np.sin(np.arange(8000) * 2 * np.pi * pitch / 16000) * 0.3
        wave += rng.normal(0, 0.3 if noisy else 0.02, 8000)
        file = io.BytesIO()
        soundfile.write(file, wave.clip(-1, 1), 16000, format="FLAC")
        audio = {"bytes": file.getvalue(), "path": f"{number}.flac"}
        rows.append({"audio": audio, "label": word, "speaker": f"s{speaker:02d}", "gender": gender, "noisy": noisy})
    rows.append({**rows[0], "audio": {"bytes": b"no sound", "path": "broken.flac"}})
    path = folder / "people.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path
