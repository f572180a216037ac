"""Thin columns: joined without rewriting audio, resumed after a failure, read as numbers."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
from datasets import Audio, Dataset, Features, List, Value, load_from_disk

import hf_select as hs
from hf_select.columns import with_columns
from hf_select.errors import ColumnError, OutputError, TransformError
from hf_select.joining import append_columns
from hf_select.testing import make_rows


def lengths(batch):
    return {"length": [len(row["bytes"]) for row in batch["audio"]]}


def words(batch):
    return {"words": [len(name.split("-")) for name in batch["id"]]}


class Vectors:
    """A transform that declares its features."""

    features = Features({"vector": List(Value("float32")), "reason": Value("string")})
    status_column = "reason"

    def __call__(self, batch):
        rows = [int(name[4:]) for name in batch["id"]]
        return {
            "vector": [None if r % 5 == 0 else np.full(3, r, np.float32) for r in rows],
            "reason": ["bad: five" if r % 5 == 0 else "ok" for r in rows],
        }


@pytest.fixture
def saved(tmp_path):
    make_rows(50).save_to_disk(tmp_path / "saved")
    return load_from_disk(tmp_path / "saved")


VIEWS = {
    "whole": lambda ds: ds,
    "shuffled": lambda ds: ds.shuffle(seed=0),
    "split": lambda ds: ds.train_test_split(test_size=0.3, seed=0)["test"],
    "repeated": lambda ds: ds.select([3, 3, 7, 0, 49]),
    "range": lambda ds: ds.select(range(10, 20)),
    "one": lambda ds: ds.select([49]),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("threads", [1, 3])
def test_values_join_their_rows(saved, view, threads):
    ds = VIEWS[view](saved)
    new = with_columns(ds, Vectors(), words, batch_size=7, num_threads=threads)
    assert new["id"][:] == ds["id"][:]
    for row in new.remove_columns("audio"):
        number = int(row["id"][4:])
        assert row["vector"] == (None if number % 5 == 0 else [number] * 3)
        assert row["words"] == 2
    assert new.split == ds.split and new.features["audio"] == ds.features["audio"]


def test_audio_is_never_rewritten_nor_decoded(saved, tmp_path):
    new = with_columns(saved.shuffle(seed=1), lengths)
    written = [p for p in Path(datasets.config.HF_DATASETS_CACHE).rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in written) < 4000
    assert {Path(f["filename"]).parent.name for f in saved.cache_files} == {"saved"}
    assert new.data.num_rows == 50  # the same table below, the shuffle kept as indices
    assert new["length"][:] == [18] * 50


def test_in_memory_datasets_work_too():
    assert with_columns(make_rows(5), words)["words"][:] == [2] * 5


def test_an_empty_view_gives_an_empty_column(saved):
    assert len(with_columns(saved.select([]), Vectors())["vector"]) == 0


def test_an_empty_view_needs_declared_features(saved):
    with pytest.raises(ColumnError, match="no rows from which to learn what words makes"):
        with_columns(saved.select([]), words)


def test_format_and_split_stay(saved):
    shown = saved.with_format("numpy", columns=["duration"])
    new = with_columns(shown, words)
    assert set(new[0]) == {"duration", "words"} and new.format["type"] == "numpy"


def test_existing_columns_are_an_error_unless_overwritten(saved):
    ds = with_columns(saved, Vectors())
    with pytest.raises(ColumnError, match="'vector' already"):
        with_columns(ds, Vectors())
    assert with_columns(ds, Vectors(), overwrite=True).column_names == ds.column_names


def test_the_first_reason_stays(saved):
    class Other:
        features = Features({"n": Value("int64"), "reason": Value("string")})
        status_column = "reason"

        def __call__(self, batch):
            return {"n": [1] * len(batch["id"]), "reason": ["bad: all"] * len(batch["id"])}

    both = with_columns(saved, Vectors(), Other())
    later = with_columns(with_columns(saved, Vectors()), Other())
    wanted = ["bad: five" if i % 5 == 0 else "bad: all" for i in range(50)]
    assert both["reason"][:] == wanted and later["reason"][:] == wanted


def test_two_makers_of_one_column_are_an_error(saved):
    with pytest.raises(ColumnError, match="Two transforms make the column 'vector'"):
        with_columns(saved, Vectors(), Vectors())


def test_a_function_without_features_may_not_replace_a_column_unasked(saved):
    def shout(batch):
        return {"label": [label.upper() for label in batch["label"]]}

    with pytest.raises(ColumnError, match=r"'label' already.*shout"):
        with_columns(saved, shout)
    assert with_columns(saved, shout, overwrite=True)["label"][:2] == ["YES", "YES"]
    with pytest.raises(ColumnError, match="'label' already"):
        with_columns(saved, shout)  # the finished result of the run that was allowed to does not change that
    with pytest.raises(ColumnError, match="Two transforms make the column 'words'"):
        with_columns(saved, words, words)


@pytest.mark.parametrize("values", [[1, 2, None, None], [None, None, 3, 4], [1, 2, 3.5, None], [None] * 4])
def test_parts_of_different_types_are_joined(values, monkeypatch):
    monkeypatch.setattr("hf_select.columns._PART_ROWS", 2)
    ds = Dataset.from_dict({"row": [0, 1, 2, 3]})
    assert with_columns(ds, lambda batch: {"v": [values[r] for r in batch["row"]]}, batch_size=2)["v"][:] == values


def test_wrong_lengths_and_no_transform_are_errors(saved):
    with pytest.raises(ColumnError, match="1 values of 'x' for 50 rows"):
        with_columns(saved, lambda batch: {"x": [1]})
    with pytest.raises(ColumnError, match="no transform"):
        with_columns(saved)


def test_datasets_of_the_wrong_kind_are_errors(saved):
    with pytest.raises(hs.HfSelectError, match="IterableDataset"):
        with_columns(saved.to_iterable_dataset(), words)


@pytest.mark.parametrize("threads", [1, 2])
def test_failure_names_the_row_and_keeps_finished_rows(saved, threads):
    seen: list[str] = []
    broken = threading.Event()
    broken.set()

    class Fragile:
        features = Features({"x": Value("int64")})
        column = "id"

        def __reduce__(self):
            return (str, ("fragile",))  # its state in a fingerprint

        def __call__(self, batch):
            seen.extend(batch["id"])
            if broken.is_set() and "row-49" in batch["id"]:
                raise ValueError("lost sync")
            return {"x": [int(name[4:]) for name in batch["id"]]}

    with pytest.raises(TransformError, match=r"row 49, column 'id': ValueError: lost sync\. 49 finished rows are kept"):
        with_columns(saved, Fragile(), batch_size=8, num_threads=threads)
    broken.clear()
    seen.clear()
    assert with_columns(saved, Fragile(), batch_size=8)["x"][:] == list(range(50))
    assert seen == ["row-49"]


def test_ctrl_c_keeps_finished_rows(saved):
    calls = []

    class Interrupted:
        features = Features({"x": Value("int64")})

        def __reduce__(self):
            return (str, ("interrupted",))

        def __call__(self, batch):
            calls.append(len(batch["id"]))
            if len(calls) == 3:
                raise KeyboardInterrupt
            return {"x": [1] * len(batch["id"])}

    with pytest.raises(KeyboardInterrupt):
        with_columns(saved, Interrupted(), batch_size=10)
    calls[:] = [0, 0, 0]
    with_columns(saved, Interrupted(), batch_size=10)
    assert calls[3:] == [10, 10, 10]  # two of the five batches were finished


def test_finished_result_is_used_again_and_checked(saved, tmp_path):
    calls = []

    class Counted:
        features = Features({"x": Value("int64")})

        def __reduce__(self):
            return (str, ("counted",))

        def __call__(self, batch):
            calls.append(1)
            return {"x": list(range(len(batch["id"])))}

    for _ in range(2):
        assert with_columns(saved, Counted(), batch_size=50, cache_dir=tmp_path)["x"][:] == list(range(50))
    assert len(calls) == 1
    [file] = tmp_path.glob("*.arrow")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    assert with_columns(saved, Counted(), batch_size=50, cache_dir=tmp_path)["x"][:] == list(range(50))
    assert len(calls) == 2


def test_unwritable_cache_is_a_clear_error(saved, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cache_dir="):
        with_columns(saved, words, cache_dir=tmp_path / "file")


def test_killed_run_continues(saved, tmp_path):
    program = """
import os, sys, datasets
datasets.disable_progress_bars()
from datasets import Features, Value, load_from_disk, concatenate_datasets
import hf_select.columns as columns
columns._PART_ROWS = 10
class Slow:
    features = Features({"x": Value("string")})
    def __reduce__(self):
        return (Slow, ())
    def __call__(self, batch):
        with open(sys.argv[2], "a") as log:
            log.write("\\n".join(batch["id"]) + "\\n")
        if sys.argv[4] == "die" and "row-35" in batch["id"]:
            os.kill(os.getpid(), 9)
        return {"x": batch["id"]}
ds = load_from_disk(sys.argv[1])
new = columns.with_columns(ds, Slow(), batch_size=5, cache_dir=sys.argv[3])
print(new["x"][:] == ds["id"][:])
"""
    log = tmp_path / "log"

    def run(mode):
        arguments = [str(tmp_path / "saved"), str(log), str(tmp_path / "cache"), mode]
        return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)

    assert run("die").returncode == -9
    assert log.read_text().split() == [f"row-{i}" for i in range(40)]
    log.unlink()
    assert run("live").stdout == "True\n"
    again = [int(name[4:]) for name in log.read_text().split()]
    assert again in (list(range(20, 50)), list(range(30, 50)))  # one part and the two batches under way, at most
    assert sorted(p.suffix for p in (tmp_path / "cache").iterdir()) == [".arrow", ".sha256"]


def test_with_columns_survives_num_proc_afterwards(saved):
    new = with_columns(saved.shuffle(seed=0), words)
    doubled = new.map(
        lambda batch: {"twice": [2 * w for w in batch["words"]]}, batched=True, num_proc=2, remove_columns=["audio"]
    )
    assert doubled["twice"][:] == [4] * 50


def test_append_columns_scatters(saved):
    ds = saved.shuffle(seed=2).select(range(20))
    new = append_columns(ds, pa.table({"n": list(range(20))}))
    assert new["n"][:] == list(range(20)) and new["id"][:] == ds["id"][:]
    with pytest.raises(ColumnError, match="19 rows and the dataset 20"):
        append_columns(ds, pa.table({"n": list(range(19))}))


def test_real_speech_stays_on_disk_once(speech_commands):
    mixed = speech_commands.train_test_split(test_size=0.5, seed=0)["train"]
    audio_bytes = sum(Path(f["filename"]).stat().st_size for f in speech_commands.cache_files)
    new = with_columns(mixed, hs.Duration(duration_column="decoded"))
    written = sum(p.stat().st_size for p in Path(datasets.config.HF_DATASETS_CACHE).rglob("*") if p.is_file())
    assert written < 0.02 * audio_bytes
    assert np.allclose(new["decoded"][:], new["duration"][:], atol=1e-3)
    assert (
        new.cast_column("audio", Audio(decode=False))[0]["audio"]["bytes"]
        == mixed.cast_column("audio", Audio(decode=False))[0]["audio"]["bytes"]
    )


def test_dataset_from_dict_is_cached_by_content():
    calls = []

    class Counted:
        def __reduce__(self):
            return (str, ("counted",))

        def __call__(self, batch):
            calls.append(1)
            return {"y": batch["x"]}

    for _ in range(2):
        with_columns(Dataset.from_dict({"x": [1, 2]}), Counted())
    assert len(calls) == 1


def test_a_damaged_part_is_computed_again(saved, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_select.columns._PART_ROWS", 10)
    fail = threading.Event()
    fail.set()

    class Stops:
        features = Features({"x": Value("int64")})

        def __reduce__(self):
            return (str, ("stops",))

        def __call__(self, batch):
            if fail.is_set() and "row-40" in batch["id"]:
                raise ValueError("stop")
            return {"x": [int(name[4:]) for name in batch["id"]]}

    with pytest.raises(TransformError):
        with_columns(saved, Stops(), batch_size=5, cache_dir=tmp_path / "cache")
    parts = sorted(tmp_path.glob("cache/*.parts/*.arrow"))
    assert len(parts) == 4
    data = bytearray(parts[1].read_bytes())
    data[-100] ^= 1
    parts[1].write_bytes(bytes(data))
    fail.clear()
    assert with_columns(saved, Stops(), batch_size=5, cache_dir=tmp_path / "cache")["x"][:] == list(range(50))


def test_columns_shown_beside_a_format_stay(saved):
    shown = saved.with_format("numpy", columns=["duration"], output_all_columns=True).remove_columns("audio")
    assert set(with_columns(shown, words)[0]) == set(shown.column_names) | {"words"}
