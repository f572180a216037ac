"""Words that are told apart by their pitch, somewhere in noise; and a network that may learn them."""

from __future__ import annotations

import numpy as np
from datasets import Audio, Dataset

from hf_select.audio import wave_bytes
from hf_select.models import LeNetConfig, LeNetFeatureExtractor, LeNetForAudioClassification

WORDS = ("high", "low", "middle")
PITCHES = {"high": 1500, "low": 300, "middle": 700}


def words(rows: int, seed: int = 0, *, bad: bool = False) -> Dataset:
    """Return clips of 0.8 to 1.6 s in which a tone stands somewhere in noise; with `bad` two of them are no clips."""
    rng, clips, labels = np.random.default_rng(seed), [], []
    for row in range(rows):
        word, length = WORDS[row % 3], int(rng.integers(12_800, 25_600))
        wave = rng.normal(0, 0.02, length)
        start = int(rng.integers(0, length - 6000))
        wave[start : start + 6000] += 0.3 * np.sin(
            np.arange(6000) * 2 * np.pi * PITCHES[word] * rng.uniform(0.9, 1.1) / 16000
        )
        clips.append({"bytes": wave_bytes(wave.astype(np.float32), 16000), "path": f"{row}.flac"})
        labels.append(word)
    if bad:
        clips[4]["bytes"], clips[7] = b"no sound", None
    return Dataset.from_dict({"audio": clips, "label": labels}).cast_column("audio", Audio(decode=False))


def network(seed: int = 0):
    """Return (an untrained LeNet, its extractor)."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        names = {"id2label": dict(enumerate(WORDS)), "label2id": {name: n for n, name in enumerate(WORDS)}}
        return LeNetForAudioClassification(
            LeNetConfig(size="tiny", num_frames=99, **names)
        ).eval(), LeNetFeatureExtractor(num_frames=99)
