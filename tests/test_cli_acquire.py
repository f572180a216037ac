"""`hf-select acquire`: rows of a pool for the subgroups that `hf-select subgroups` found."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset, load_dataset

import hf_select as hs
from hf_select import cli


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process: (exit code, what it said, what it said beside)."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["hf-select", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return (left.value.code or 0, *capsys.readouterr())

    return call


def clip(noise: float, seed: int) -> dict[str, object]:
    tone = np.sin(np.arange(8000) * 2 * np.pi * 200 / 8000) * (np.arange(8000) % 2000 < 1400)
    sound = io.BytesIO()
    noisy = 0.3 * tone + noise * np.random.default_rng(seed).normal(size=8000)
    soundfile.write(sound, noisy, 8000, format="WAV")
    return {"bytes": sound.getvalue(), "path": f"{seed}.wav"}


@pytest.fixture
def folder(tmp_path):
    """A validation split with outcomes, and a pool: noisy women are wrong. No column says who is noisy."""
    rng = np.random.default_rng(0)
    for name, rows in (("valid", 60), ("pool", 40)):
        gender = np.where(np.arange(rows) % 2, "f", "m")
        noisy = np.arange(rows) % 3 == 0
        columns = {
            "audio": [
                clip(0.1 if bad else 0.001 + 0.0005 * rng.random(), 1000 * rows + i) for i, bad in enumerate(noisy)
            ],
            "gender": gender,
            "correct": ~((gender == "f") & noisy) | (rng.random(rows) < 0.1),
        }
        rows_of = Dataset.from_dict(columns).cast_column("audio", Audio())
        (rows_of if name == "valid" else rows_of.remove_columns("correct")).to_parquet(tmp_path / f"{name}.parquet")
    return tmp_path


def find(run, folder):
    words = ["--outcome", "correct", "--by", "gender", "--by", "snr_db", "--out", folder / "where", "--quiet"]
    code, _, said = run("subgroups", folder / "valid.parquet", *words)
    assert code == 0, said


def test_from_validation_to_acquired_rows(run, folder):
    find(run, folder)
    words = [
        "--subgroups",
        folder / "where",
        "--worst",
        "1",
        "--redundancy",
        "0.1",
        "--out",
        folder / "more",
        "--quiet",
    ]
    code, said, _ = run("acquire", folder / "pool.parquet", *words)
    assert code == 0
    assert "select_subgroups: 7 of 40 rows" in said
    assert "7 of 7 rows: gender = f and snr_db <= " in said
    more = load_dataset(str(folder / "more"), split="train").cast_column("audio", Audio(decode=False))
    pool = load_dataset("parquet", data_files=str(folder / "pool.parquet"), split="train")
    pool = pool.cast_column("audio", Audio(decode=False))
    assert set(more.column_names) == {"audio", "gender"}
    paths = [row["path"] for row in pool["audio"]]
    assert [row["path"] for row in more["audio"]] == [p for i, p in enumerate(paths) if i % 6 == 3]
    sel = hs.Selection.load(folder / "more")
    assert sel.apply(pool)["gender"][:] == ["f"] * 7
    assert {name for groups in sel.groups for name in groups} == set(sel.params["subgroups"])
    assert "snr_db" in (folder / "more" / "report.md").read_text()
    assert "SpeechMetadata" in (folder / "more" / "report.md").read_text()


def test_a_budget_and_json(run, folder):
    find(run, folder)
    words = ["--subgroups", folder / "where" / "subgroups.json", "--budget", "4", "--json", "--quiet"]
    code, said, _ = run("acquire", folder / "pool.parquet", *words)
    assert code == 0
    found = json.loads(said)
    assert found["rows"] == {"kept": 4, "total": 40}
    assert found["subgroups"][0]["taken"] == 4
    again = run("acquire", folder / "pool.parquet", *words, "--fill", "proportional")[1]
    assert json.loads(again)["params"]["fill"] == "proportional"


def test_mistakes_are_one_sentence(run, folder):
    find(run, folder)
    code, _, said = run("acquire", folder / "pool.parquet", "--subgroups", folder / "nowhere.json", "--quiet")
    assert code == 1
    assert "Error: " in said and "nowhere.json" in said
    code, _, said = run("acquire", folder / "pool.parquet", "--subgroups", folder / "where", "--max-q", "0", "--quiet")
    assert code == 1
    assert "There is no subgroup to acquire rows of" in said
    code, _, said = run(
        "acquire", folder / "pool.parquet", "--subgroups", folder / "where", "--budget", "lots", "--quiet"
    )
    assert code == 1
    assert "A budget is" in said
    code, _, said = run("prune", folder / "pool.parquet", "--method", "subgroups", "--budget", "3", "--quiet")
    assert code == 1
    assert "hf-select acquire" in said
