"""What all tests share: quiet libraries, a cache of their own, real speech from the neighbouring `shared` folder."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before datasets is imported: no test may reach the network
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if worker := os.environ.get("PYTEST_XDIST_WORKER"):  # one of several: each has a core,
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    compiled = Path(__file__).resolve().parents[1] / ".pytest_cache" / f"numba-{worker}"
    os.environ.setdefault("NUMBA_CACHE_DIR", str(compiled))  # and its own code: librosa's, of one folder, crashed

import gc
import signal

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as under nohup: tests of Ctrl-C need processes that heed it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Let collections of garbage, one in each training, not look at all modules again: that took a third of their time."""
    gc.collect()
    gc.freeze()


SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every test caches of its own, and no progress bars."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    datasets.disable_progress_bars()


def shared_pack(name: str) -> Path:
    """Return a file of the shared data, or skip the test, saying so."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"shared data is absent: {name} beside the checkout")
    return path


@pytest.fixture(scope="session")
def speech_commands(tmp_path_factory: pytest.TempPathFactory):
    """Nine words x 220 real clips; skipped where the shared data is absent."""
    return _parquet("data/speech_commands_dev.parquet", tmp_path_factory)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory):
    """3,000 real spoken digits at 8 kHz by 6 speakers; skipped where the shared data is absent."""
    return _parquet("data/fsdd.parquet", tmp_path_factory)


def _parquet(name: str, tmp_path_factory: pytest.TempPathFactory):
    from datasets import load_dataset

    path = shared_pack(name)
    return load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(tmp_path_factory.mktemp("packs")))
