"""The script on a corpus made here: its numbers are those of its records, and of a cell done again by hand."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from scripts import TRAINERS, load_script
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

import hf_select as hs
from hf_select.models import LeNetConfig, LeNetFeatureExtractor, train_and_test
from hf_select.sources import open_dataset
from hf_select.splits import cut_off

SCRIPT = TRAINERS / "prune_and_train.py"
QUICK = ["--sizes", "tiny", "--num_train_epochs", "2", "--seeds", "0", "1", "--max_length_seconds", "0.6"]
WORDS = ("high", "low", "middle")
SPEAKERS = 12


@pytest.fixture(scope="module")
def script():
    return load_script("prune_and_train")


@pytest.fixture(autouse=True)
def same_cache(own_cache, folder, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")


@pytest.fixture(scope="module")
def pack(folder):
    """180 tones of half a second by 12 speakers, one clip that is none, and one that two speakers share."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(180):
        word = WORDS[number % 3]
        pitch = {"high": 1500, "low": 300, "middle": 700}[word] * rng.uniform(0.8, 1.25)
        wave = np.sin(np.arange(8000) * 2 * np.pi * pitch / 16000) * 0.3 + rng.normal(0, 0.1, 8000)
        file = io.BytesIO()
        soundfile.write(file, wave, 16000, format="FLAC")
        rows.append(
            {
                "audio": {"bytes": file.getvalue(), "path": f"{number}.flac"},
                "label": word,
                "speaker": f"s{number // 3 % SPEAKERS}",
            }
        )
    speakers = np.random.default_rng(0).permutation(sorted({row["speaker"] for row in rows}))  # the first are tested on
    shared = next(row for row in rows if row["speaker"] == speakers[0])
    rows.append({**shared, "audio": {**shared["audio"], "path": "again.flac"}, "speaker": speakers[-1]})
    rows.append({"audio": {"bytes": b"no sound", "path": "broken.flac"}, "label": "low", "speaker": speakers[-1]})
    path = folder / "tones.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture(scope="module")
def wav2vec2(folder):
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(16, 16),
        conv_stride=(10, 8), conv_kernel=(10, 8), num_feat_extract_layers=2, num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    model = folder / "tiny-wav2vec2"
    Wav2Vec2Model(config).save_pretrained(model)
    Wav2Vec2FeatureExtractor().save_pretrained(model)
    return str(model)


@pytest.fixture
def call(script, monkeypatch, capsys):
    """Call the script in this process, and return what it prints."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        script.main()
        return capsys.readouterr().out

    return run


def refused(call, *arguments: object) -> str:
    with pytest.raises(SystemExit) as found:
        call(*arguments)
    return str(found.value)


def records(out: Path) -> pd.DataFrame:
    lines = [json.loads(line) for path in out.glob("records*.jsonl") for line in path.read_text().splitlines()]
    return pd.DataFrame([line for line in lines if "loss" in line]).sort_values("name", ignore_index=True)


@pytest.fixture(scope="module")
def done(script, folder, pack, wav2vec2):
    """One whole run with all three kinds of embeddings."""
    out = folder / "done"
    arguments = ["--dataset_name", str(pack), "--output_dir", str(out), "--encoder_epochs", "2", *QUICK]
    arguments += ["--embedding", "mfcc", "encoder", wav2vec2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(SCRIPT), *arguments])
        script.main()
    return out, arguments


def parts(pack: Path) -> dict:
    return cut_off(open_dataset(pack).ds, {"test": 0.2, "validation": 0.1}, group="speaker", seed=0)


def usable(pack: Path):
    """The training rows without the clip that is none and the one that is tested on."""
    train = parts(pack)["train"]
    names = [clip["path"] for clip in train.with_format("arrow")[:]["audio"].to_pylist()]
    assert {"again.flac", "broken.flac"} < set(names)
    return train.select([row for row, name in enumerate(names) if name not in ("again.flac", "broken.flac")])


def chosen(out: Path, start: str) -> hs.Selection:
    [folder] = (out / "selections").glob(f"{start}-????????")
    return hs.Selection.load(folder)


def test_the_table_is_what_the_records_say(done, wav2vec2):
    out, _ = done
    cells, table, text = records(out), pd.read_csv(out / "results.csv"), (out / "results.md").read_text()
    assert len(cells) == 2 * (2 * 3 * 3 + 3 + 1) and len(table) == 22
    assert set(cells["embedding"]) == {"", "mfcc", "encoder", wav2vec2}
    table["embedding"] = table["embedding"].fillna("")
    for _, line in table.iterrows():
        same = [cells[name] == line[name] for name in ("method", "embedding", "budget", "size")]
        own = cells[np.logical_and.reduce(same)].sort_values("seed")
        assert own["seed"].tolist() == [0, 1]
        for name in ("rows", "hours", "balance", "steps", "loss", "accuracy", "select_seconds", "train_seconds"):
            assert line[name] == pytest.approx(own[name].mean())
        assert f"{own['loss'].mean():.3f} ± {own['loss'].std():.3f}" in text
        if line["method"] in ("simple", "hard"):
            random = cells[(cells["method"] == "random") & (cells["budget"] == line["budget"])].sort_values("seed")
            apart = own["accuracy"].to_numpy() - random["accuracy"].to_numpy()
            assert line["accuracy_apart"] == pytest.approx(apart.mean())
            assert f"{apart.mean():+.3f} ± {abs(apart[0] - apart[1]) / 2:.3f}" in text
    assert text.count("\n| simple |") == 3 * (3 + 3 + 1)  # means, differences, exponents
    assert "of 36 comparisons" in text and "It has seen the labels" in text


def test_rows_hours_and_balance_are_those_of_the_selections(done, pack):
    out, _ = done
    train, splits = usable(pack), parts(pack)
    assert not {*splits["test"]["speaker"], *splits["validation"]["speaker"]} & set(train["speaker"])
    for _, cell in records(out).iterrows():
        embedding = cell["embedding"].replace("/", "_")
        title = "-".join(filter(None, [cell["method"], embedding, cell["budget"], f"seed-{cell['seed']}"]))
        rows = chosen(out, title).apply(train)  # which knows each of these rows and no other
        share = 1 if cell["method"] == "all" else float(cell["budget"])
        assert len(rows) == cell["rows"] == int(share * len(train))
        assert cell["hours"] == pytest.approx(len(rows) / 2 / 3600)
        shares = np.unique(rows["label"], return_counts=True)[1] / len(rows)
        assert cell["balance"] == pytest.approx(-(shares * np.log(shares)).sum() / np.log(3))
    notes = (out / "results.md").read_text()
    assert "1 clips of train can't be used" in notes and "1 training clips stand in validation or test too" in notes


@pytest.mark.parametrize("drop", ["simple", "hard"])
def test_a_cell_done_again_by_hand(done, pack, drop):
    out, _ = done
    extractor = LeNetFeatureExtractor(num_frames=59)
    splits = {name: hs.with_columns(ds, extractor.mfcc()) for name, ds in parts(pack).items()}
    extractor.fit(splits["train"]["mfcc"])

    def inputs(ds):
        numbers = [sorted(WORDS).index(label) for label in ds["label"]]
        return {**extractor.inputs(ds, label_column=None)[:], "labels": torch.tensor(numbers)}

    pool = hs.with_columns(usable(pack), extractor.mfcc())
    pool = hs.with_columns(pool, hs.MFCC(pool="stats"))
    selection = hs.select_kmeans(
        pool, budget="0.7", n_clusters=len(pool) // 20, column="mfcc_stats", standardize="features", drop=drop, seed=1
    )
    found = train_and_test(
        LeNetConfig(size="tiny", num_labels=3, num_frames=59), inputs(selection.apply(pool)), inputs(splits["test"]),
        validation=inputs(splits["validation"]), seed=1, epochs=2, batch_size=8, patience=15,
    )  # fmt: skip
    cells = records(out)
    [cell] = cells[
        (cells["method"] == drop) & (cells["embedding"] == "mfcc") & (cells["budget"] == "0.7") & (cells["seed"] == 1)
    ].to_dict("records")
    assert (cell["loss"], cell["accuracy"], cell["steps"]) == (found.loss, found.accuracy, found.steps)
    assert len(selection) == cell["rows"] == int(0.7 * len(pool))


def test_a_second_call_trains_nothing(done, script, call, monkeypatch):
    out, arguments = done
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    monkeypatch.setattr(script, "train_and_test", None)
    call(*arguments)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


def test_ctrl_c_costs_one_cell(script, call, monkeypatch, pack, tmp_path):
    arguments = ["--dataset_name", pack, "--output_dir", tmp_path, "--methods", "simple", "random", "--budgets", "0.5"]
    trained = []

    def stopping(*args, **kwargs):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(kwargs["seed"])
        return train_and_test(*args, **kwargs)

    monkeypatch.setattr(script, "train_and_test", stopping)
    assert "same command goes on" in refused(call, *arguments, *QUICK)
    assert trained == [0, 0] and len(records(tmp_path)) == 2 and not (tmp_path / "results.md").exists()
    again = []
    monkeypatch.setattr(
        script, "train_and_test", lambda *args, **kwargs: (again.append(kwargs["seed"]), train_and_test(*args, **kwargs))[1]
    )  # fmt: skip
    call(*arguments, *QUICK)
    assert again == [1, 1] and len(pd.read_csv(tmp_path / "results.csv")) == 2
    call(*arguments, *QUICK, "--num_train_epochs", "1")  # another recipe: other cells
    assert again == [1, 1, 0, 0, 1, 1] and len(records(tmp_path)) == 8


def test_shuffled_sets_subsets_and_equal_steps(call, pack, tmp_path):
    (tmp_path / "arguments.yaml").write_text(
        f"dataset_name: {pack}\noutput_dir: {tmp_path / 'out'}\nmethods: [hard, hard-shuffled, all]\nbudgets: ['0.6']\n"
        "subsets: [0.5, 0.8]\nsizes: [tiny]\nseeds: [0]\nnum_train_epochs: 2\nmax_length_seconds: 0.6\n"
        "n_clusters: auto\nequal_steps: true\nearly_stopping_patience: 0\n"
        """kmeans_kwargs: '{"metric": "cosine"}'\n"""
    )
    text, out = call(tmp_path / "arguments.yaml"), tmp_path / "out"
    cells = records(out)
    assert len(cells) == 9 and cells["steps"].nunique() == 1 and "epochs of the same number of steps" in text
    train = usable(pack)
    hard, shuffled, half = (
        chosen(out, f"{name}-seed-0") for name in ("hard-mfcc-0.6", "hard-shuffled-mfcc-0.6", "hard-mfcc-0.6-x-0.5")
    )
    assert hard.params["metric"] == "cosine" and hard.params["n_clusters"] == "auto"
    kinds = [sorted(selection.apply(train)["label"]) for selection in (hard, shuffled)]
    assert kinds[0] == kinds[1] and hard.indices.tolist() != shuffled.indices.tolist()
    assert set(half.indices) < set(hard.indices) and len(half) == len(hard) // 2
    nu = [line for line in text.splitlines() if line.startswith("| hard | mfcc | 0.6 | tiny |")]
    assert any(f"{len(half)} to {len(hard)}" in line for line in nu)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budgets", "1.5"], "1.5"),
        (["--budgets", "half"], "half"),
        (["--methods", "easy"], "methods: choose from simple, hard"),
        (["--sizes", "huge"], "sizes: choose from"),
        (["--seeds", "1", "1"], "seeds is a list of different values"),
        (["--subsets", "1.0"], "between 0 and 1"),
        (["--n_clusters", "many"], "a number or 'auto'"),
        (["--kmeans_kwargs", '{"seed": 3}'], "may not hold seed"),
        (["--pool", "max"], "pool: choose from mean, none"),
        (["--label_column_name", "word"], "word"),
        (["--dataset_name", "./nothing.parquet"], "nothing.parquet"),
        (["--max_length_seconds", "0.3"], "29 frames x 32 coefficients are too small"),
        (["--test_share", "0.9"], "leave something over"),
        (["--embedding", "./no-model"], "no-model"),
        (["--test_split_name", "test", "--eval_split_name", "validation"], "0 training rows"),  # a file has one split
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_arguments_give_one_sentence(call, pack, tmp_path, arguments, message):
    text = refused(call, "--dataset_name", pack, "--output_dir", tmp_path / "out", *QUICK, *arguments)
    assert message in text and text.startswith("prune_and_train: ") and "\n" not in text.strip()
    assert not list(tmp_path.rglob("*.jsonl"))


def test_files_with_other_names_are_refused(call, tmp_path):
    (tmp_path / "a.json").write_text('{"dataset": "demo"}')
    assert "dataset" in refused(call, tmp_path / "a.json")
    (tmp_path / "b.json").write_text('{"seeds": 3}')
    assert "seeds is a list" in refused(call, tmp_path / "b.json")


def test_help(call, capsys):
    with pytest.raises(SystemExit):
        call("--help")
    assert "--dataset_name" in capsys.readouterr().out


@pytest.mark.slow
def test_two_processes_make_the_same_table(done, tmp_path):
    out, arguments = done
    there = arguments.index("--output_dir") + 1
    arguments = [*arguments[:there], str(tmp_path / "two"), *arguments[there + 1 :]]
    environment = {key: value for key, value in os.environ.items() if not key.endswith(("RANK", "WORLD_SIZE"))}
    environment |= {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(SCRIPT)]
    found = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stdout + found.stderr
    one, two = records(out), records(tmp_path / "two")
    assert len(list((tmp_path / "two").glob("records*.jsonl"))) == 2
    numbers = ["method", "embedding", "budget", "seed", "rows", "loss", "accuracy", "steps"]
    order = ["method", "embedding", "budget", "seed"]
    pd.testing.assert_frame_equal(
        one[numbers].sort_values(order, ignore_index=True),
        two[numbers].sort_values(order, ignore_index=True),
        check_exact=True,
    )
    columns = ["method", "embedding", "budget", "loss", "accuracy_apart"]
    pd.testing.assert_frame_equal(*(pd.read_csv(path / "results.csv")[columns] for path in (out, tmp_path / "two")))


@pytest.mark.slow
def test_the_embedded_corpus(call, tmp_path):
    pytest.importorskip("espeakng_loader", reason="the embedded corpus needs hf-select[demo]")
    text = call("--demo_clips", "120", "--output_dir", tmp_path, "--budgets", "0.5", *QUICK)
    assert "demo: train 84, validation 18, test 18 rows, 22 classes" in text
    assert records(tmp_path)["rows"].tolist().count(42) == 6  # simple, hard, random x 2 seeds
