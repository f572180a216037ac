"""`hf-select subgroups`: the published worst subgroup, any table with predictions, words of strangers, whole folders."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from datasets import Audio, ClassLabel, Dataset

import hf_select as hs
from hf_select import cli
from hf_select.errors import ColumnError

from .conftest import shared_pack

PUBLISHED = {
    "ageRange": "22-40",
    "gender": "male",
    "location": "none",
    "speed_rate_word": "high",
    "total_silence": "high",
}
FILES = ["divergence.png", "divergence.svg", "subgroups.csv", "subgroups.json", "worst.csv"]


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process: (exit code, what it said, what it said beside)."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["hf-select", "subgroups", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return (left.value.code or 0, *capsys.readouterr())

    return call


@pytest.fixture
def table(tmp_path):
    """600 rows of which women in noise are often wrong, and the speaker s0 most often."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "clip": [f"c{i}" for i in range(600)],
            "number": range(600),
            "gender": rng.choice(["female", "male"], 600),
            "noisy": rng.choice([True, False], 600),
            "age": rng.integers(18, 80, 600),
            "speaker": [f"s{i % 12}" for i in range(600)],
            "same": "x",
        }
    )
    wrong = (rows.gender == "female") & rows.noisy & ((rows.speaker == "s0") | (rng.random(600) < 0.4))
    rows["correct"] = 1 - wrong.astype(int)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path / "rows.csv"


def test_the_published_worst_subgroup_stands_in_the_first_row_with_its_warning(tmp_path):
    source = shared_pack("data/tables/FSC_for_DivExplorer_wav2vec2-base.csv")
    attributes = ["Self-reported fluency level ", "First Language spoken", "Current language used for work/school"]
    attributes += ["gender", "ageRange", "action", "object", "location", "total_silence", "total_duration"]
    attributes += ["trimmed_duration", "n_words", "speed_rate_word", "speed_rate_word_trimmed"]
    words = [word for name in attributes for word in ("--by", name)]
    command = [sys.executable, "-W", "error", "-m", "hf_select", "subgroups", source, "--outcome", "prediction", *words]
    environment = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "c"), "OMP_NUM_THREADS": "1"}
    asked = ["--speaker", "speakerId", "--out", str(tmp_path / "out"), "-q"]
    done = subprocess.run([*map(str, command), *asked], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("5,965 subgroups of at least 114 of 3,793 rows; prediction of all rows: 0.9172")
    first = next(i for i, line in enumerate(lines) if line.startswith(" 1 "))
    assert lines[first].split()[:3] == ["1", "119", "0.605"] and "-0.312" in lines[first] and "97.9%" in lines[first]
    phrase = " ".join(lines[first + 1 : first + 3])
    assert all(word in phrase for word in ("gender = male", "total_silence > 1.5", "speed_rate_word > 0.68"))
    assert max(map(len, lines)) <= 100
    warning = " ".join(done.stdout.split("warning: ")[1].split())
    assert (
        "note: None of these has q <= 0.05: each may be chance." in done.stdout
    )  # over speakers; by rows all are < .001
    assert warning.startswith("Subgroups 1, 2, ") and "one speaker makes most of the errors (97.9% in 1)" in warning
    groups = hs.Subgroups.load(tmp_path / "out" / "subgroups.json")
    assert len(groups) == 5965 and groups.worst(1, redundancy=0)[0].pattern == PUBLISHED
    assert len(pd.read_csv(tmp_path / "out" / "subgroups.csv", keep_default_na=False)) == 5965


def test_json_says_what_python_says(run, table):
    code, said, _ = run(table, "--outcome", "correct", "--by", "gender", "--by", "noisy", "--by", "age", "--json",
                        "--speaker", "speaker", "--redundancy", "0.01", "--worst", "3", "-q")  # fmt: skip
    found = json.loads(said)
    ds = Dataset.from_pandas(pd.read_csv(table))
    groups = hs.find_subgroups(ds, ["gender", "noisy", "age"], "correct", speaker="speaker")
    worst = groups.worst(redundancy=0.01)
    assert code == 0 and found["subgroups"] == len(groups) and found["candidates"] == len(worst) and not found["out"]
    assert found["overall"] == pytest.approx(groups.overall) and found["redundancy"] == 0.01
    assert [row["pattern"] for row in found["worst"]] == [group.pattern for group in worst[:3]]
    assert found["worst"][0]["pattern"].items() >= {"gender": "female", "noisy": "True"}.items()
    for row, group in zip(found["worst"], worst[:3], strict=True):
        for name in ("count", "mean", "divergence", "q", "low", "high", "speakers", "worst_speaker_share"):
            assert row[name] == pytest.approx(getattr(group, name), nan_ok=True)


def test_all_columns_that_can_describe_rows_are_taken_and_named(run, table):
    _, said, _ = run(table, "--outcome", "correct", "--speaker", "speaker", "--json", "-q")
    found = json.loads(said)
    assert found["by"] == ["gender", "noisy", "age"]
    left_out = " ".join(found["notes"])
    for reason in ("clip (another text in every row, an id)", "number (another number in every row, an id)", "same (one value)",
                   "speaker (the speakers)", "correct (the outcome)"):  # fmt: skip
        assert reason in left_out
    _, said, _ = run(table, "--outcome", "correct", "--json", "-q", "--keep-constant")
    found = json.loads(said)
    assert found["by"] == ["gender", "noisy", "age", "same"] and found["speaker"] is None
    assert any("speaker (looks like speakers: pass --speaker)" in note for note in found["notes"])
    assert any("rows of one speaker are not" in note for note in found["notes"])


def test_a_folder_of_tables_and_pictures_is_written_whole(run, table, tmp_path, monkeypatch):
    words = (table, "--outcome", "correct", "--out", tmp_path / "out", "--worst", "4", "-q")
    code, said, _ = run(*words)
    assert code == 0 and "Written to" in said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    everything, worst = (pd.read_csv(tmp_path / "out" / name) for name in ("subgroups.csv", "worst.csv"))
    groups = hs.Subgroups.load(tmp_path / "out" / "subgroups.json")
    assert len(worst) == 4 and everything["subgroup"].tolist() == [str(group) for group in groups]
    assert np.allclose(everything["divergence"], groups.to_pandas()["divergence"], rtol=0, atol=0)
    assert all(row in everything["subgroup"].tolist() for row in worst["subgroup"])
    code, _, error = run(*words)
    assert code == 1 and "--overwrite" in error

    before = (tmp_path / "out" / "worst.csv").read_bytes()

    def broken(*arguments, **more):
        raise OSError("disk full")

    monkeypatch.setattr("hf_select.cli.subgroups_out.plot_subgroups", broken)
    code, _, error = run(*words, "--overwrite", "--worst", "1")
    assert code == 1 and "disk full" in error and (tmp_path / "out" / "worst.csv").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"out", "rows.csv"}  # nothing half-written is left
    monkeypatch.undo()


def test_a_folder_of_someone_else_is_refused_before_the_work(run, table, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "selection.json").write_text("{}")
    code, _, error = run(table, "--outcome", "nowhere", "--out", tmp_path / "mine", "--overwrite")
    assert code == 1 and "holds no subgroups.json, so hf_select did not write it" in error


def test_default_redundancy_is_a_twentieth_of_the_largest_divergence(run, table):
    _, said, _ = run(table, "--outcome", "correct", "--json", "-q")
    found = json.loads(said)
    groups = hs.find_subgroups(Dataset.from_pandas(pd.read_csv(table)), ["gender", "noisy", "age"], "correct")
    assert found["redundancy"] == pytest.approx(abs(groups[0].divergence) / 20, rel=0.05)
    _, text, _ = run(table, "--outcome", "correct", "-q")
    assert f"in which every condition adds more than {found['redundancy']:g}" in text


def test_limits_leave_out_and_nothing_left_is_said(run, table):
    words = (table, "--outcome", "correct", "--speaker", "speaker", "-q")
    _, said, _ = run(*words, "--json", "--min-speakers", "12", "--max-q", "0.05")
    _, text, _ = run(*words, "--min-speakers", "12", "--max-q", "0.05", "--redundancy", "0.012345")
    assert max(map(len, text.splitlines())) <= 100
    assert all(row["speakers"] >= 12 and row["q"] <= 0.05 for row in json.loads(said)["worst"])
    code, text, _ = run(*words, "--min-speakers", "13")
    text = " ".join(text.split())
    assert code == 0 and "None of them is worse than all rows and one" in text and "of 13 speakers or more" in text
    code, text, _ = run(*words, "--min-speakers", "13", "--out", table.parent / "none")
    assert code == 0 and sorted(path.name for path in (table.parent / "none").iterdir()) == FILES


def test_one_speaker_who_makes_most_errors_is_warned_about(run, table):
    rows = pd.read_csv(table)
    rows["correct"] = (~((rows.speaker == "s0") & (rows.gender == "female") & (rows.number % 2 == 0))).astype(int)
    rows.to_csv(table, index=False)
    _, text, _ = run(table, "--outcome", "correct", "--by", "gender", "--speaker", "speaker", "-q")
    assert "100.0% s0" in text and "warning: Subgroup 1: one speaker makes most of the errors (100.0% in 1)." in text


def test_rates_of_predictions_and_labels(run, tmp_path):
    rng = np.random.default_rng(1)
    rows = pd.DataFrame({"room": rng.choice(["a", "b"], 400), "label": rng.choice(["yes", "no"], 400)})
    rows["said"] = np.where((rows.room == "b") & (rng.random(400) < 0.5), "yes", rows.label)
    rows.to_csv(tmp_path / "x.csv", index=False)
    words = (tmp_path / "x.csv", "--outcome", "false_positive_rate", "--predicted", "said", "--label", "label")
    code, said, _ = run(*words, "--positive", "yes", "--json", "-q")
    found = json.loads(said)
    assert code == 0 and found["direction"] == "higher" and found["worst"][0]["pattern"] == {"room": "b"}
    no = rows[rows.label == "no"]
    assert found["overall"] == pytest.approx((no.said == "yes").mean())
    assert found["by"] == ["room"]  # neither the label nor the prediction describes a row


def test_parquet_with_sound_and_classes_decodes_nothing(run, tmp_path):
    sound = [{"bytes": b"no sound at all", "path": None}] * 60
    rows = {"audio": sound, "accent": [0, 1, 2] * 20, "wer": [0.1, 0.2, 0.9] * 20, "vector": [[0.0, 1.0]] * 60}
    ds = Dataset.from_dict(rows).cast_column("accent", ClassLabel(names=["=Irish", "Scots", "Welsh"]))
    ds.cast_column("audio", Audio(decode=False)).to_parquet(tmp_path / "x.parquet")
    code, said, error = run(tmp_path / "x.parquet", "--outcome", "wer", "--json", "-q")
    assert code == 0, error
    found = json.loads(said)
    assert found["by"] == ["accent"] and found["direction"] == "higher"
    assert found["worst"][0]["pattern"] == {"accent": "Welsh"}
    assert any(
        "audio (holds lists or sound), wer (the outcome), vector (holds lists or sound)" in n for n in found["notes"]
    )


FORMULAS = ("=", "+", "-", "@", "\t=", "\r=", "\n=", " =", "＝", "＋", "－", "＠", "|", "%")


def test_no_cell_is_a_formula(run, tmp_path):
    names = [f"{start}1+1 {i}" for i, start in enumerate(FORMULAS)]
    values = [f"{start}cmd {i}" for i, start in enumerate(FORMULAS)]
    columns = {name: [values[(row + i) % 14] for row in range(280)] for i, name in enumerate(names)}
    rows = {
        **columns,
        "correct": [int(row % 3 > 0) for row in range(280)],
        "who": [values[row % 7] for row in range(280)],
    }
    pq.write_table(pa.table(rows), tmp_path / "x.parquet")
    words = [word for name in names for word in ("--by", name)]
    code, _, error = run(tmp_path / "x.parquet", "--outcome", "correct", *words, "--speaker", "who", "--max-length", "1",
                         "--out", tmp_path / "out", "--worst", "99", "-q")  # fmt: skip
    assert code == 0, error
    for name in ("subgroups.csv", "worst.csv"):
        with (tmp_path / "out" / name).open(encoding="utf-8", newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        texts = [cell for cell in cells if not cell.replace("-", "").replace(".", "").replace("e", "").isdecimal()]
        assert len(texts) > 20
        assert not [cell for cell in texts if cell.lstrip()[:1] in set("=+-@|%＝＋－＠") or cell[:1] in set("\t\r\n")]


def test_hostile_words_do_not_reach_the_terminal(run, tmp_path):
    evil = ["\x1b[31mred", "\u202egnp", "\x1b]8;;http://x\x07link", "two\nlines", "\x9b2J", "plain"]
    rows = {"\x1b[2Jname": [evil[row % 6] for row in range(120)], "correct": [int(row % 6 > 3) for row in range(120)]}
    pq.write_table(pa.table(rows), tmp_path / "x.parquet")
    for more in ((), ("--json",), ("--by", "\x1b[2Jnothing"), ("--out", tmp_path / "out")):
        _, said, error = run(tmp_path / "x.parquet", "--outcome", "correct", "-q", *more)
        assert said + error and not set(said + error) & set("\x1b\x07\x9b\u202e\r")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--outcome", "nowhere"], "there is no column 'nowhere'"),
        (["--outcome", "gender"], "0/1"),
        (["--outcome", "correct", "--by", "nowhere"], "there is no column 'nowhere'"),
        (["--outcome", "correct", "--speaker", "nowhere"], "there is no column 'nowhere'"),
        (["--outcome", "correct", "--min-support", "lots"], "--min-support is a share of the rows"),
        (["--outcome", "correct", "--min-support", "1.5"], "--min-support is a share"),
        (["--outcome", "correct", "--min-support", "601"], "No subgroup has 601 of 600 rows"),
        (["--outcome", "correct", "--direction", "down"], "'lower' or 'higher'"),
        (["--outcome", "accuracy"], "it needs --predicted and --label"),
        (["--outcome", "correct", "--min-speakers", "3"], "speaker"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else None,
)
def test_errors_are_one_message(run, table, words, said):
    code, out, error = run(table, *words, "-q")
    assert code == 1 and out == "" and said in error and "Traceback" not in error


def test_whole_numbers_are_rows_and_points_are_shares(run, table):
    for text, rows in (("30", 30), ("0.05", 30), ("1", 1), ("1.0", 600)):
        words = ("--outcome", "correct", "--by", "gender", "--by", "noisy", "--min-support", text, "--json", "-q")
        code, said, _ = run(table, *words, *(["--keep-constant", "--by", "same"] if text == "1.0" else []))
        assert code == 0 and json.loads(said)["min_count"] == rows


def test_a_table_of_too_many_columns_asks_for_some(run, tmp_path):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(200, 30)), columns=[f"x{i}" for i in range(30)])
    rows.assign(correct=rng.integers(0, 2, 200)).to_csv(tmp_path / "x.csv", index=False)
    code, _, error = run(tmp_path / "x.csv", "--outcome", "correct")
    assert code == 1 and "30 columns can describe rows" in error and "--max-length" in error
    assert run(tmp_path / "x.csv", "--outcome", "correct", "--max-length", "1", "-q")[0] == 0


def test_no_column_that_can_describe_rows():
    from hf_select.cli.subgroups_by import columns_to_use

    with pytest.raises(ColumnError, match="No column can describe rows: name "):
        columns_to_use(Dataset.from_dict({"name": [f"n{i}" for i in range(30)]}), {})


def test_columns_of_every_kind_are_judged():
    from hf_select.cli.subgroups_by import columns_to_use

    columns = {
        "flag": [True, False] * 30,
        "few": [1, 2, 3] * 20,
        "twenty": [str(i % 20) for i in range(60)],
        "twentyone": [str(i % 21) for i in range(60)],
        "seconds": [i / 7 for i in range(60)],
        "index": list(range(60)),
        "endless": [float("inf"), *range(59)],
        "gaps": [None, "a", "b"] * 20,
        "nothing": [None] * 60,
        "bytes": [b"x", b"y"] * 30,
        "client_id": ["a", "b"] * 30,
    }
    good, notes = columns_to_use(Dataset.from_dict(columns), {})
    assert good == ["flag", "few", "twenty", "seconds", "gaps"]
    assert (
        "endless (infinite numbers)" in notes[1]
        and "nothing (no values)" in notes[1]
        and "bytes (holds bytes)" in notes[1]
    )


def test_outcome_of_a_scores_folder(run, tmp_path, monkeypatch):
    from hf_select.audio import wave_bytes
    from hf_select.models import LeNetConfig, LeNetFeatureExtractor, LeNetForAudioClassification
    from hf_select.sources import open_dataset

    rng = np.random.default_rng(0)
    for label in ("high", "low"):
        (tmp_path / "clips" / label).mkdir(parents=True)
        for i in range(10):
            sound = rng.normal(size=4000).astype(np.float32) * 0.1
            (tmp_path / "clips" / label / f"{i}.wav").write_bytes(wave_bytes(sound, 16000, "WAV"))
    names = {"high": 0, "low": 1}
    config = LeNetConfig(size="tiny", label2id=names, id2label={number: name for name, number in names.items()})
    LeNetForAudioClassification(config).save_pretrained(tmp_path / "model")
    LeNetFeatureExtractor().save_pretrained(tmp_path / "model")
    source = open_dataset(tmp_path / "clips")
    hs.score(source.ds, str(tmp_path / "model"), columns=["loss"], audio_root=source.audio_root, out=tmp_path / "s")
    code, said, error = run(tmp_path / "clips", "--scores", tmp_path / "s", "--outcome", "loss", "--json", "-q")
    assert code == 0, error
    found = json.loads(said)
    assert found["by"] == ["label"] and found["subgroups"] == 2 and found["direction"] == "higher"


def test_columns_that_are_missing_are_measured_from_the_sound(tmp_path, run):
    rng = np.random.default_rng(0)

    def clip(noise: float) -> dict[str, object]:
        tone = np.sin(np.arange(8000) * 2 * np.pi * 200 / 8000) * (np.arange(8000) % 2000 < 1400)
        sound = io.BytesIO()
        soundfile.write(sound, 0.3 * tone + noise * rng.normal(size=8000), 8000, format="WAV")
        return {"bytes": sound.getvalue(), "path": None}

    noisy = [i % 2 == 0 for i in range(40)]
    columns = {
        "audio": [clip(0.1 if bad else 0.001 * (1 + i / 40)) for i, bad in enumerate(noisy)],
        "text": ["one two three"] * 40,
        "correct": [not bad for bad in noisy],
    }
    Dataset.from_dict(columns).cast_column("audio", Audio()).to_parquet(tmp_path / "clips.parquet")
    words = ["--outcome", "correct", "--by", "snr_db", "--by", "n_words", "--json", "--quiet"]
    code, said, _ = run(tmp_path / "clips.parquet", *words)
    assert code == 0
    worst = json.loads(said)["worst"][0]
    assert worst["pattern"] == {"snr_db": "low"}
    assert worst["mean"] < 0.1
