"""`hf-select score` and `trainers/score.py`, run as users run them: alone and under torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset

import hf_select as hs
from hf_select.audio import wave_bytes
from hf_select.readers import read_values, read_vectors
from hf_select.sources import open_dataset

from .here import run_here

ROOT = Path(__file__).resolve().parents[1]
ALONE = [sys.executable]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of 40 tones under two labels, one clip broken, and a LeNet with its extractor that knows the labels."""
    from hf_select.models import LeNetConfig, LeNetFeatureExtractor, LeNetForAudioClassification

    root = tmp_path_factory.mktemp("score")
    rng = np.random.default_rng(0)
    for label, hertz in (("high", 900), ("low", 200)):
        (root / "clips" / label).mkdir(parents=True)
        for i in range(20):
            sound = 0.3 * np.sin(hertz * rng.uniform(0.9, 1.1) * np.arange(int(16000 * rng.uniform(0.2, 0.9))) / 2500)
            (root / "clips" / label / f"{i:02d}.wav").write_bytes(wave_bytes(sound.astype(np.float32), 16000, "WAV"))
    (root / "clips" / "low" / "19.wav").write_bytes(b"RIFF but no sound")
    names = {"low": 0, "high": 1}  # in another order than the folders
    config = LeNetConfig(size="tiny", label2id=names, id2label={number: name for name, number in names.items()})
    LeNetForAudioClassification(config).save_pretrained(root / "model")
    LeNetFeatureExtractor().save_pretrained(root / "model")
    return root


def run(folder, start, *arguments, cache):
    environment = os.environ | {
        "HF_DATASETS_CACHE": str(cache),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
    }
    return subprocess.run(
        [*start, *map(str, arguments)], capture_output=True, text=True, env=environment, cwd=ROOT, timeout=200
    )


def test_score_then_prune_from_the_command_line(folder, tmp_path):
    asked = ["--model", folder / "model", "--columns", "embedding,loss", "--columns", "correct"]
    score = ["-m", "hf_select", "score", folder / "clips", *asked]
    planned = run_here(*score[2:], "--out", tmp_path / "s", "--dry-run", cache=tmp_path)
    assert planned.returncode == 0 and planned.stdout.startswith(
        "Plan: 40 rows, 0.01 hours and 0.00 GB of audio, about"
    ), planned.stderr
    done = run(folder, ALONE, *score, "--out", tmp_path / "s", "-q", cache=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (
        "Plan: 40 rows" in done.stderr
        and "unusable clips: 1 unreadable" in done.stdout
        and "scores.arrow" in done.stdout
    )
    assert {path.name for path in (tmp_path / "s").iterdir()} == {"scores.arrow", "scores.sha256", "scores.json"}
    record = json.loads((tmp_path / "s" / "scores.json").read_text())
    assert (
        record["rows"] == 40
        and record["columns"] == ["embedding", "loss", "correct"]
        and len(record["model"]["digest"]) == 64
    )

    prune = ["prune", folder / "clips", "--scores", tmp_path / "s", "--out", tmp_path / "p", "-q"]
    done = run_here(*prune, "--budget", "0.5", "--n-clusters", "3", "--json", cache=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["params"]["column"] == "embedding" and summary["rows"]["kept"] == 20
    kept = load_dataset(str(tmp_path / "p"), split="train", cache_dir=str(tmp_path / "cache"))
    assert (
        len(kept) == 20 and "embedding" not in kept.column_names
    )  # scores choose rows; they are not published with them
    report = (tmp_path / "p" / "report.md").read_text()
    assert record["model"]["digest"][:16] in report  # what the rows were chosen by can be traced

    again = run_here(*score[2:], "--out", tmp_path / "s", "--json", "-q", cache=tmp_path)
    assert json.loads(again.stdout)["columns"]["loss"]["missing"] == 1
    other = run_here(*score[2:], "--layer", "0", "--out", tmp_path / "s", "-q", cache=tmp_path)
    assert other.returncode == 1 and other.stderr.count("\n") == 1 and "holds scores of other data" in other.stderr


@pytest.mark.slow
def test_the_script_alone_and_under_torchrun_writes_the_same_bytes(folder, tmp_path):
    asked = ["--dataset_name", folder / "clips", "--model_name_or_path", folder / "model"]
    script = ["trainers/score.py", *asked, "--columns", "embedding", "probs"]
    for name, start in (("alone", ALONE), ("two", TORCHRUN)):
        done = run(folder, start, *script, "--output_dir", tmp_path / name, cache=tmp_path)
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.count("40 rows\n") == 1  # said once, not by every process
    assert (tmp_path / "alone" / "scores.arrow").read_bytes() == (tmp_path / "two" / "scores.arrow").read_bytes()
    arguments = tmp_path / "arguments.json"
    named = {"dataset_name": str(folder / "clips"), "model_name_or_path": str(folder / "model")}
    arguments.write_text(json.dumps({**named, "columns": ["wer"], "output_dir": "x"}))
    wrong = run(folder, ALONE, "trainers/score.py", arguments, cache=tmp_path)
    assert wrong.returncode == 1 and "Error: 'wer' comes from a model of kind ctc or seq2seq" in wrong.stderr


def test_scores_are_joined_to_the_folder_read_anew_and_shuffled(folder, tmp_path):
    source = open_dataset(folder / "clips")
    scored = hs.score(
        source.ds,
        str(folder / "model"),
        columns=["loss", "embedding"],
        audio_root=source.audio_root,
        out=tmp_path / "s",
    )
    turned = hs.load_scores(open_dataset(folder / "clips").ds.shuffle(seed=1).select(range(30)), tmp_path / "s")
    by_name = dict(zip(scored["file_name"], read_values(scored, "loss"), strict=True))
    assert np.array_equal([by_name[name] for name in turned["file_name"]], read_values(turned, "loss"), equal_nan=True)
    assert read_vectors(turned, "embedding").shape[0] == 30
