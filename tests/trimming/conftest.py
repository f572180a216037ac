"""What tests of MelTrim share."""

from __future__ import annotations

import sys
from pathlib import Path

import datasets
import pytest

import hf_select as hs

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder, and in it a cache for the module."""
    place = tmp_path_factory.mktemp("module")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", place / "cache")
        yield place


@pytest.fixture(scope="module")
def ds(folder):
    """Sixty words with MFCC frames and durations, two of them no clips."""
    from vocabulary import words

    return hs.with_columns(words(60, bad=True), hs.MFCC(duration_column="duration"))


@pytest.fixture(scope="module")
def judge(folder):
    from vocabulary import network

    return network()
