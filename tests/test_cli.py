"""The command line, and first and where it matters as users run it: in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from datasets import load_dataset

import hf_select as hs
from hf_select.audio import wave_bytes

from .here import run_here


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A folder of 60 short tones under three labels, one broken clip, one silent clip."""
    folder = tmp_path_factory.mktemp("corpus") / "clips"
    rng = np.random.default_rng(0)
    for label, hertz in (("high", 900), ("low", 200), ("mid", 450)):
        (folder / label).mkdir(parents=True)
        for i in range(20):
            n = int(16000 * rng.uniform(0.2, 0.5))
            sound = 0.3 * np.sin(2 * np.pi * hertz * rng.uniform(0.9, 1.1) * np.arange(n) / 16000) + 0.01 * rng.normal(
                size=n
            )
            (folder / label / f"{i:02d}.wav").write_bytes(wave_bytes(sound.astype(np.float32), 16000, format="WAV"))
    (folder / "low" / "19.wav").write_bytes(b"RIFF but no sound")
    (folder / "mid" / "19.wav").write_bytes(wave_bytes(np.zeros(4000, np.float32), 16000, format="WAV"))
    return folder


def run(*arguments, cache, **more):
    environment = {**os.environ, "HF_DATASETS_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-c", "from hf_select.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, **more)


def test_prune_from_folder_to_loadable_dataset(clips, tmp_path):
    done = run(
        "prune", clips, "--budget", "0.5", "--out", tmp_path / "out", "--n-clusters", 6, "-q", cache=tmp_path / "c"
    )
    assert done.returncode == 0, done.stderr
    assert "30 of 60 rows (50.0%)" in done.stdout and "1 rows could not be chosen: silent" in done.stdout
    assert "1 rows could not be chosen: unreadable" in done.stdout and "Plan: 60 rows" in done.stderr
    out = tmp_path / "out"
    assert {p.name for p in out.iterdir()} == {
        "README.md",
        "data",
        "figures",
        "report.md",
        "selection.json",
        "selection.parquet",
    }
    small = load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(small) == 30 and set(small.column_names) == {"audio", "file_name", "label"}
    sel = hs.Selection.load(out)
    assert small["file_name"][:] == [sel.key[int(i)].as_py() for i in sel.indices]
    assert not {"low/19.wav", "mid/19.wav"} & set(small["file_name"])
    assert str(clips) not in (out / "report.md").read_text() + (out / "selection.json").read_text()


def test_json_dry_run_and_nothing_written(clips, tmp_path):
    done = run_here("prune", clips, "--budget", "10s", "--method", "random", "--json", "-q", cache=tmp_path / "c")
    found = json.loads(done.stdout)
    assert (
        found["rows"]["total"] == 60
        and found["hours"]["kept"] <= 10 / 3600
        and found["balance"]["total"] == pytest.approx(1)
    )
    plan = json.loads(
        run_here("prune", clips, "--budget", "1", "--dry-run", "--json", "-q", cache=tmp_path / "c").stdout
    )
    assert plan["plan"]["rows"] == 60 and plan["plan"]["keeps"] == "1 rows"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c"]


def test_per_label_and_budget_of_rows(clips, tmp_path):
    done = run_here(
        "prune", clips, "--budget", "4", "--per", "label", "--method", "random", "--json", "-q", cache=tmp_path / "c"
    )
    assert json.loads(done.stdout)["rows"]["kept"] == 12


def test_score_by_a_column_of_a_table(tmp_path):
    (tmp_path / "scores.csv").write_text("name,loss\n" + "\n".join(f"c{i},{i}" for i in range(10)))
    done = run_here("prune", tmp_path / "scores.csv", "--method", "score", "--column", "loss", "--budget", "3", "--key", "name",
               "--out", tmp_path / "out", "-q", cache=tmp_path / "c")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert hs.Selection.load(tmp_path / "out").indices.tolist() == [7, 8, 9]


def test_seconds_of_a_table_by_name(tmp_path):
    (tmp_path / "t.csv").write_text("name,length\n" + "\n".join(f"c{i},2.0" for i in range(10)))
    words = ("--method", "random", "--budget", "7s", "--duration", "length", "--json", "-q")
    done = run_here("prune", tmp_path / "t.csv", *words, cache=tmp_path / "c")
    assert json.loads(done.stdout)["rows"]["kept"] == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--budget", "lots"], "A budget is a share"),
        (
            ["--budget", "0.5", "--method", "magic"],
            "There is no method 'magic'. Methods there are: kmeans, random, score",
        ),
        (["--budget", "0.5", "--method", "score"], "--column"),
        (
            ["--budget", "0.5", "--per", "nowhere"],
            "there is no column 'nowhere'. Columns there are: audio, file_name, label",
        ),
        (["--budget", "0.5", "--n-clusters", "500"], "--n-clusters 500 is more than the 58 rows"),
        (["--budget", "0.5", "--column", "label"], "vectors are needed"),
        (["--budget", "0.5", "--label", "nope"], "There is no column 'nope'"),
    ],
)
def test_errors_are_one_message(clips, tmp_path, arguments, said):
    done = run_here("prune", clips, *arguments, "-q", cache=tmp_path / "c")
    assert done.returncode == 1 and done.stdout == ""
    assert said in done.stderr and "Traceback" not in done.stderr


def test_a_taken_folder_is_refused_before_work_and_replaced_on_demand(clips, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("x")
    budget = ("--method", "random", "--out", out, "-q")
    for more, said in (((), "--overwrite"), (("--overwrite",), "did not write it")):
        done = run_here("prune", clips, "--budget", "5", *budget, *more, cache=tmp_path / "c")
        assert done.returncode == 1 and said in done.stderr and not (tmp_path / "c" / "hf_select").exists()
    (out / "mine").unlink()
    for rows in ("5", "6"):
        assert run_here("prune", clips, "--budget", rows, *budget, "--overwrite", cache=tmp_path / "c").returncode == 0
        assert len(hs.Selection.load(out)) == int(rows)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "out"]


def test_check_reports(clips, tmp_path):
    done = run_here("check", clips, "--json", "-q", cache=tmp_path / "c")
    assert done.returncode == 0, done.stderr
    text = run_here("check", clips, "-q", cache=tmp_path / "c").stdout
    assert "unreadable" in done.stdout and "silent" in text


def test_version_help_and_wrong_usage(tmp_path):
    assert run_here("--version", cache=tmp_path).stdout.strip() == hs.__version__
    for command in ("prune", "check", "demo"):
        assert run_here(command, "--help", cache=tmp_path).returncode == 0
    assert run_here("prune", cache=tmp_path).returncode == 2


def test_hostile_labels_do_not_reach_the_terminal(tmp_path):
    (tmp_path / "x.csv").write_text("name,\x1b[31mred\n" + "a,1\n")
    done = run_here(
        "prune", tmp_path / "x.csv", "--method", "score", "--column", "nope", "--budget", "1", cache=tmp_path / "c"
    )
    assert done.returncode == 1 and "\x1b" not in done.stderr


def test_ctrl_c_leaves_soon_and_the_next_run_continues(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    noise = np.random.default_rng(0).normal(size=16000 * 10).astype(np.float32) * 0.1
    first = folder / "0000.wav"
    first.write_bytes(wave_bytes(noise, 16000, format="WAV"))
    for i in range(1, 2500):
        (folder / f"{i:04d}.wav").hardlink_to(first)
    environment = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "c"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "from hf_select.cli import main; main()", "prune", str(folder), "--budget", "0.5"]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "out")],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("c/hf_select/*.parts/*.arrow")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    started = time.monotonic()
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "run the same command to continue" in error
    assert time.monotonic() - started < 10  # well under 2 s on a quiet machine
    assert not list(tmp_path.glob(".out*")) and not (tmp_path / "out").exists()
    assert 1 <= len(list(tmp_path.glob("c/hf_select/*.parts/*.arrow"))) <= 2  # what was finished is kept


def test_a_secret_named_by_a_row_is_never_read(tmp_path):
    """Rows of a stranger's parquet that name files and URLs: refused, counted, and nowhere in what is written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    secret = tmp_path / "secret.wav"
    canary = (rng.normal(size=16000) * 0.1).astype(np.float32)
    secret.write_bytes(wave_bytes(canary, 16000, format="WAV"))
    rows = [
        {"bytes": wave_bytes((rng.normal(size=8000) * 0.1).astype(np.float32), 16000), "path": f"{i}.flac"}
        for i in range(12)
    ]
    hostile = [
        str(secret),
        f"file://{secret}",
        "secret.wav",
        f"zip://x::{secret}",
        "http://127.0.0.1:9/x.wav",
        "~/.netrc",
    ]
    rows += [{"bytes": None, "path": path} for path in hostile]
    pq.write_table(pa.table({"audio": rows, "label": ["a", "b"] * 9}), tmp_path / "rows.parquet")
    out = tmp_path / "out"
    words = ("--budget", "1.0", "--n-clusters", 2, "--out", out, "-q")
    done = run("prune", tmp_path / "rows.parquet", *words, cache=tmp_path / "c", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "12 of 18 rows" in done.stdout and "6 rows could not be chosen: refused" in done.stdout
    written = [p for folder in (out, tmp_path / "c") for p in folder.rglob("*") if p.is_file()]
    piece = secret.read_bytes()[1000:1100]
    assert written and not any(piece in p.read_bytes() for p in written)
    assert str(secret) not in (out / "report.md").read_text() + done.stdout
