"""Sound to test with: seeded clips of mixed length, and real speech where the shared packs are at hand."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
PACKS = ("speech_commands_dev", "an4_dev", "fsdd", "alnum_accents_dev", "emodb_2s")


def voice(seconds: float, seed: int, rate: int = 16000) -> np.ndarray:
    """Return something between a voice and a siren: harmonics under an envelope, silence at the end, faint noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * rate)) / rate
    pitch = 2 * np.pi * np.cumsum(rng.uniform(90, 240) * (1 + 0.1 * np.sin(5 * t))) / rate
    wave = sum(rng.uniform(0, 1) / k * np.sin(k * pitch) for k in range(1, 12))
    wave = wave * np.clip(np.sin(np.pi * t * rng.uniform(1, 4)), 0, None) * rng.uniform(0.01, 0.3)
    return (wave + 1e-4 * rng.standard_normal(len(t))).astype(np.float32)


def flac(samples: np.ndarray, rate: int = 16000) -> dict[str, object]:
    """Return samples as datasets stores a clip."""
    import soundfile as sf

    buffer = io.BytesIO()
    sf.write(buffer, samples, rate, format="FLAC")
    return {"bytes": buffer.getvalue(), "path": f"clip_{len(samples)}.flac"}


def audio_table(clips: list[dict[str, object] | None], **columns: list[object]):
    """Return a Dataset with a decoding Audio column, made without encoding (which would need torchcodec)."""
    import pyarrow as pa
    from datasets import Audio, Dataset

    audio = pa.array(clips, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    return Dataset(pa.table({"audio": audio, **columns})).cast_column("audio", Audio())


@pytest.fixture(scope="session")
def voices() -> list[np.ndarray]:
    """Seventy clips of 20 ms to 1.5 s, each of another length."""
    lengths = np.random.default_rng(7).uniform(0.02, 1.5, 70)
    return [voice(seconds, seed) for seed, seconds in enumerate(lengths)]


@pytest.fixture(scope="session")
def real_clips() -> list[dict[str, object]]:
    """Twenty stored clips of each shared pack."""
    import pyarrow.parquet as pq

    if not SHARED.is_dir():
        pytest.skip("the shared packs are not beside this checkout (../shared/data)")
    clips: list[dict[str, object]] = []
    for pack in PACKS:
        rows = next(pq.ParquetFile(SHARED / f"{pack}.parquet").iter_batches(20, columns=["audio"]))
        clips += rows.column("audio").to_pylist()
    return clips
