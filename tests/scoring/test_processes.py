"""The same columns, files and Selections on one process and on several real ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import Audio, ClassLabel, Dataset

from hf_select.audio import wave_bytes

SCRIPT = Path(__file__).with_name("many.py")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Save 67 clips of many lengths, one of them broken, with labels."""
    rng = np.random.default_rng(0)
    clips = []
    for row in range(67):
        seconds = rng.uniform(0.1, 1.5)
        tone = np.sin(np.arange(int(16000 * seconds)) * rng.uniform(0.05, 0.5)) * 0.3 + rng.normal(
            0, 0.02, int(16000 * seconds)
        )
        clips.append({"bytes": wave_bytes(tone.astype(np.float32), 16000), "path": f"{row}.flac"})
    clips[11]["bytes"] = clips[11]["bytes"][:900]
    ds = Dataset.from_dict({"audio": clips, "label": [row % 2 for row in range(67)]})
    ds = ds.cast_column("audio", Audio(decode=False)).cast_column("label", ClassLabel(names=["high", "low"]))
    path = tmp_path_factory.mktemp("corpus") / "clips"
    ds.save_to_disk(path)
    return path


def run(corpus, out, world):
    start = [sys.executable]
    if world > 1:
        start += ["-m", "torch.distributed.run", "--nproc_per_node", str(world), "--master_port", "0", "--standalone"]
    environment = os.environ | {
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "HF_DATASETS_CACHE": str(out) + "-cache",
    }
    done = subprocess.run(
        [*start, str(SCRIPT), str(corpus), str(out)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(Path(f"{out}-{rank}.json").read_text()) for rank in range(world)], done.stderr


@pytest.mark.slow
def test_one_two_and_three_processes_give_the_same(corpus, tmp_path):
    (alone,), _ = run(corpus, tmp_path / "1", 1)
    for world in (2, 3):
        found, _ = run(corpus, tmp_path / str(world), world)
        for rank in found:
            assert rank == alone
    rows = {json.dumps(case["rows"]) for name, case in alone.items() if name.startswith("layer batch")}
    assert len(rows) == 1  # whatever the batch size
    assert len({json.dumps(case["rows"]) for name, case in alone.items() if name.startswith("group batch")}) == 1
    assert len({json.dumps(case["rows"]) for name, case in alone.items() if name.startswith("gradients")}) == 1
    assert alone["0 rows"]["loss"] == [] and len(alone["2 rows"]["loss"]) == 2
    assert alone["no shared folder"]["files"] == ["scores.arrow", "scores.json", "scores.sha256"]
