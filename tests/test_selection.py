"""The Selection: applying, matching by key, combining, saving, and being equal."""

from __future__ import annotations

import json
import pickle
import random
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Audio, Dataset, DatasetDict, concatenate_datasets
from datasets.distributed import split_dataset_by_node
from hypothesis import given, settings
from hypothesis import strategies as st

import hf_select as hs
from hf_select.errors import DatasetError, OutputError, SelectionError
from hf_select.selection import Selection
from hf_select.testing import make_rows


@pytest.fixture
def ds():
    return make_rows(30, column="loss", values="numbers")


@pytest.fixture
def sel(ds):
    return hs.select_by_score(ds, budget=10, column="loss")


def names(ds):
    return ds.with_format(None)["id"][:]


def test_apply_keeps_the_rows_in_source_order(ds, sel):
    assert names(sel.apply(ds)) == [f"row-{i}" for i in sel.indices]
    assert sorted(ds["loss"], reverse=True)[:10] == [ds["loss"][i] for i in sel.ranked]


def test_apply_matches_a_reordered_dataset(ds, sel):
    mixed = ds.shuffle(seed=3)
    assert names(sel.apply(mixed)) == [name for name in names(mixed) if int(name[4:]) in sel.indices]


def test_apply_after_reload_from_disk(ds, sel, tmp_path):
    from datasets import load_from_disk

    ds.save_to_disk(tmp_path / "saved")
    assert names(sel.apply(load_from_disk(tmp_path / "saved"))) == names(sel.apply(ds))


def test_apply_ignores_dropped_rows_that_are_gone(ds, sel):
    thinner = ds.select([i for i in range(30) if i in sel.indices or i % 2])
    assert names(sel.apply(thinner)) == names(sel.apply(ds))


def test_apply_refuses_when_a_kept_row_is_gone(ds, sel):
    with pytest.raises(SelectionError, match="1 of 10 kept rows are not in this dataset"):
        sel.apply(ds.select([i for i in range(30) if i != sel.indices[4]]))


def test_apply_refuses_unknown_rows(ds, sel):
    other = make_rows(31, column="loss", values="numbers")
    with pytest.raises(SelectionError, match=r"1 of 31 rows are unknown .* row 30"):
        sel.apply(other)


def test_apply_refuses_a_dataset_dict(ds, sel):
    with pytest.raises(DatasetError, match=r"ds\['train'\]"):
        sel.apply(DatasetDict(train=ds))


def test_apply_refuses_a_list(sel):
    with pytest.raises(DatasetError, match="got list"):
        sel.apply([1, 2])


def test_apply_decodes_nothing_and_keeps_features(ds, sel):
    small = sel.apply(ds)  # the audio of make_rows can't be decoded
    assert small.features == ds.features


def test_ambiguous_keys_are_never_guessed():
    rows = Dataset.from_dict({"id": ["a", "a", "b"], "x": [1.0, 2.0, 3.0]})
    sel = hs.select_by_score(rows, budget=2, column="x", key="id")
    assert sel.apply(rows)["x"][:] == [2.0, 3.0]  # same order: no need to tell them apart
    with pytest.raises(SelectionError, match="share the key 'a'"):
        sel.apply(rows.select([2, 1, 0]))
    with pytest.raises(SelectionError, match="unique"):
        sel.mark(rows.select([2, 1, 0]))


def test_rows_of_one_name_and_length_are_told_apart_by_content():
    rng = np.random.default_rng(0)
    clips = [{"bytes": rng.bytes(4000), "path": "a_nohash_0.wav"} for _ in range(20)]
    rows = Dataset.from_dict({"audio": clips, "x": list(range(20))}).cast_column("audio", Audio())
    sel = hs.select_by_score(rows, budget=5, column="x")
    assert len(set(sel.key.to_pylist())) == 20
    assert sorted(sel.apply(rows.shuffle(seed=0))["x"]) == [15, 16, 17, 18, 19]


def test_rows_without_audio_are_known_by_content():
    rows = Dataset.from_dict({"label": ["a", "a", "b", "b"], "embedding": [[1.0], [2.0], [3.0], [4.0]]})
    sel = hs.select_random(rows, budget=2, seed=0)
    kept = sel.apply(rows)["embedding"][:]
    assert sorted(sel.apply(rows.select([3, 1, 0, 2]))["embedding"]) == kept


def test_an_integer_id_column_is_a_key():
    rows = Dataset.from_dict({"n": [7, 5, 3], "x": [1.0, 2.0, 3.0]})
    sel = hs.select_by_score(rows, budget=1, column="x", key="n")
    assert sel.key.to_pylist() == [7, 5, 3]
    assert sel.apply(rows.select([2, 0, 1]))["n"][:] == [3]


@pytest.mark.parametrize("values", [[1.5, 2.5], [None, "a"], [["a"], ["b"]]])
def test_a_bad_id_column_is_an_error(values):
    with pytest.raises(hs.HfSelectError, match="key='n'"):
        hs.select_random(Dataset.from_dict({"n": values}), budget=1, key="n")


# -- streams and filter


@pytest.mark.parametrize("key", ["id", None])
def test_stream_keeps_the_right_rows_however_it_is_read(ds, key):
    ds = ds.cast_column("audio", Audio(decode=False))
    sel = hs.select_by_score(ds, budget=10, column="loss", key=key)
    wanted = sorted(names(sel.apply(ds)))
    stream = ds.to_iterable_dataset(num_shards=4)
    for source in (stream, stream.shuffle(seed=1, buffer_size=7)):
        assert sorted(row["id"] for row in sel.apply(source)) == wanted
    halves = [row["id"] for rank in (0, 1) for row in sel.apply(split_dataset_by_node(stream, rank, 2))]
    assert sorted(halves) == wanted


def test_stream_with_two_workers(ds):
    from torch.utils.data import DataLoader

    ds = ds.cast_column("audio", Audio(decode=False))
    sel = hs.select_by_score(ds, budget=10, column="loss", key="id")
    stream = sel.apply(ds.to_iterable_dataset(num_shards=4)).remove_columns("audio")
    loader = DataLoader(stream, num_workers=2, batch_size=None, multiprocessing_context="spawn")
    assert sorted(row["id"] for row in loader) == sorted(names(sel.apply(ds)))


def test_stream_is_cast_back(ds, sel):
    assert sel.apply(ds.to_iterable_dataset()).features["audio"] == ds.features["audio"]


def test_stream_of_other_rows_is_an_error(ds):
    sel = hs.select_by_score(ds, budget=3, column="loss", key="id")
    other = (
        ds.cast_column("audio", Audio(decode=False)).remove_columns("id").add_column("id", [f"x{i}" for i in range(30)])
    )
    with pytest.raises(SelectionError, match="unknown to this Selection"):
        list(sel.apply(other.to_iterable_dataset()))


def test_stream_without_ids_says_what_to_do():
    rows = Dataset.from_dict({"x": [1.0, 2.0]})
    with pytest.raises(SelectionError, match="key="):
        hs.select_random(rows, budget=1).apply(rows.to_iterable_dataset())


def test_filter_agrees_with_apply_and_is_cached(ds, sel, tmp_path):
    ds.save_to_disk(tmp_path / "saved")
    from datasets import load_from_disk

    saved = load_from_disk(tmp_path / "saved")
    first = saved.filter(sel, with_indices=True, batched=True)
    again = saved.filter(pickle.loads(pickle.dumps(sel)), with_indices=True, batched=True)
    assert names(first) == names(sel.apply(ds))
    assert first._fingerprint == again._fingerprint


def test_filter_refuses_moved_rows(ds, sel):
    with pytest.raises(SelectionError, match=r"use sel\.apply"):
        ds.shuffle(seed=1).filter(sel, with_indices=True, batched=True)
    with pytest.raises(SelectionError, match=r"use sel\.apply"):
        concatenate_datasets([ds, ds]).filter(sel, with_indices=True, batched=True)


def test_an_index_filter_on_a_stream_is_refused_not_wrong(ds, sel):
    stream = ds.cast_column("audio", Audio(decode=False)).to_iterable_dataset(num_shards=3).shuffle(seed=0)
    with pytest.raises(SelectionError, match=r"use sel\.apply"):
        list(stream.filter(sel, with_indices=True, batched=True))


def test_mark_adds_thin_columns_in_any_order(ds, sel):
    for rows in (ds, ds.shuffle(seed=2), ds.shuffle(seed=2).select(range(12))):
        marked = sel.mark(rows)
        for row in marked.remove_columns("audio"):
            index = int(row["id"][4:])
            assert row["selected"] == (index in sel.indices)
            assert row["selection_score"] == row["loss"]
            assert (row["selection_rank"] is None) != row["selected"]
    assert sel.mark(ds, prefix="k_").column_names[-4:] == [
        "k_selected",
        "k_selection_rank",
        "k_selection_score",
        "k_selection_group",
    ]


# -- again and again


def test_take_is_what_selecting_less_gives(ds):
    all_rows = hs.select_by_score(ds, budget=1.0, column="loss")
    for budget in (0.1, 5, "30%", "7s"):
        again = hs.select_by_score(ds, budget=budget, column="loss")
        assert all_rows.take(budget, ds=ds).indices.tolist() == again.indices.tolist()
        assert all_rows.take(budget, ds=ds).order.tolist() == again.order.tolist()


def test_take_per_group_and_from_a_shuffled_source(ds):
    all_rows = hs.select_by_score(ds, budget=1.0, column="loss")
    again = hs.select_by_score(ds, budget=2, column="loss", per="speaker")
    assert all_rows.take(2, ds=ds.shuffle(seed=5), per="speaker").indices.tolist() == again.indices.tolist()


def test_take_refuses_more_than_there_is(sel):
    with pytest.raises(SelectionError, match="asks for 15 rows and 10 are kept"):
        sel.take(0.5)
    with pytest.raises(SelectionError, match="ds="):
        sel.take("5s")


def test_then_indexes_the_source(ds, sel):
    small = sel.apply(ds)
    second = hs.select_by_score(small, budget=4, column="duration", keep="lowest")
    both = sel.then(second)
    assert names(both.apply(ds)) == names(second.apply(small))
    assert both.num_rows == 30 and both.key.equals(sel.key)
    assert both.method == "select_by_score then select_by_score"
    assert np.isnan(both.score[[i for i in range(30) if i not in sel.indices]]).all()


def test_then_refuses_a_selection_of_other_rows(ds, sel):
    with pytest.raises(SelectionError, match=r"first\.apply"):
        sel.then(hs.select_random(ds, budget=3))


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_then_equals_two_applications(first, second, seed):
    ds = make_rows(30)
    one = hs.select_random(ds, budget=first, seed=seed)
    two = hs.select_random(one.apply(ds), budget=min(first, second), seed=seed + 1)
    assert names(one.then(two).apply(ds)) == names(two.apply(one.apply(ds)))


# -- what it says


def test_describe_by_hand():
    rows = Dataset.from_dict({"label": ["a"] * 4 + ["b"] * 2, "x": [5.0, 4, 0, 0, 3, 2], "duration": [3600.0] * 6})
    table = hs.select_by_score(rows, budget=4, column="x").describe(rows, by="label")
    assert table.index.tolist() == ["a", "b"]  # the largest loser first
    assert table["kept"].tolist() == [2, 2] and table["total"].tolist() == [4, 2]
    assert table["kept_share"].tolist() == [0.5, 1.0]
    assert table["kept_hours"].tolist() == [2.0, 2.0] and table["total_hours"].tolist() == [4.0, 2.0]


def test_describe_in_all_and_by_numbers(ds, sel):
    assert sel.describe(ds)["kept"].tolist() == [10]
    by_loss = sel.describe(ds, by="loss")  # 30 values: quarters
    assert len(by_loss) == 4 and by_loss["total"].sum() == 30 and by_loss["kept"].sum() == 10
    assert by_loss["kept"].tolist()[0] == 0


def test_text_says_what_matters(ds):
    status = ["ok"] * 27 + ["silent: no sound", "unreadable: lost sync", "unreadable: empty header"]
    text = str(hs.select_random(ds.add_column("audio_status", status), budget="1h", seed=4))
    assert "27 of 30 rows" in text and "seed 4" in text
    assert "2 rows could not be chosen: unreadable" in text and "1 rows could not be chosen: silent" in text
    assert "All 27 rows fit into 1 h" in text


# -- equality, pickling, disk


def test_equality_is_about_what_was_chosen(ds, sel):
    same = hs.select_by_score(ds, budget=10, column="loss")
    assert same == sel and hash(same) == hash(sel)
    assert hs.select_by_score(ds, budget=9, column="loss") != sel
    assert hs.select_by_score(ds, budget=10, column="loss", keep="lowest") != sel
    assert sel != "sel"


def test_how_it_went_is_no_part_of_it(sel):
    fields = {**sel.__dict__, "seconds": 99.0, "warnings": ("x",), "versions": {}, "facts": {"a": 1}}
    fields.pop("digest", None)
    other = Selection(**fields)
    assert other == sel
    assert pickle.dumps(other) == pickle.dumps(sel)


def test_pickles_alike_in_another_process(tmp_path):
    program = (
        "import hashlib, pickle, datasets; datasets.disable_progress_bars()\n"
        "import hf_select as hs; from hf_select.testing import make_rows\n"
        "ds = make_rows(20, column='loss', values='numbers')\n"
        "print(hashlib.sha256(pickle.dumps(hs.select_by_score(ds, budget=7, column='loss'), protocol=4)).hexdigest())"
    )
    digests = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(digests) == 1


def test_is_frozen(sel):
    with pytest.raises(AttributeError):
        sel.seed = 3


def test_saves_and_loads(sel, tmp_path):
    sel.save(tmp_path)
    again = Selection.load(tmp_path)
    assert (
        again == sel and again.warnings == sel.warnings and again.versions == sel.versions and again.facts == sel.facts
    )
    assert Selection.load(tmp_path / "selection.json") == sel
    table = pq.read_table(tmp_path / "selection.parquet")
    assert table.column_names == ["row", "key", "rank", "score", "group", "segment_start", "segment_end"]
    assert table.num_rows == 30 and 30 - table["rank"].null_count == 10
    assert json.loads((tmp_path / "selection.json").read_text())["method"] == "select_by_score"


def test_segments_travel(sel, ds, tmp_path):
    fields = {k: v for k, v in sel.__dict__.items() if k != "digest"}
    cut = Selection(**{**fields, "segment_start": np.arange(10) / 10, "segment_end": np.arange(10) / 10 + 0.25})
    cut.save(tmp_path)
    assert Selection.load(tmp_path) == cut != sel
    small = cut.apply(ds)
    assert small["segment_end"][:] == pytest.approx((np.arange(10) / 10 + 0.25).tolist())
    mixed = cut.apply(ds.shuffle(seed=1))
    pairs = dict(zip(names(small), small["segment_start"], strict=True))
    assert all(pairs[name] == start for name, start in zip(names(mixed), mixed["segment_start"], strict=True))
    assert cut.take(4).apply(ds)["segment_start"][:] == [pairs[f"row-{i}"] for i in cut.take(4).indices]


def test_a_taken_place_is_an_error(sel, tmp_path):
    sel.save(tmp_path)
    with pytest.raises(OutputError, match="overwrite=True"):
        sel.save(tmp_path)
    sel.save(tmp_path, overwrite=True)


def test_nothing_there_is_a_clear_error(tmp_path):
    with pytest.raises(SelectionError, match="no Selection"):
        Selection.load(tmp_path / "nowhere")


def test_a_parquet_of_another_selection_is_noticed(sel, ds, tmp_path):
    sel.save(tmp_path / "a")
    hs.select_random(ds, budget=3).save(tmp_path / "b")
    (tmp_path / "b" / "selection.parquet").replace(tmp_path / "a" / "selection.parquet")
    with pytest.raises(SelectionError, match="does not belong"):
        Selection.load(tmp_path / "a")


def test_every_flipped_bit_is_noticed(sel, tmp_path):
    sel.save(tmp_path)
    rng = random.Random(0)
    for name in ("selection.json", "selection.parquet"):
        data = (tmp_path / name).read_bytes()
        for _ in range(300):
            place = rng.randrange(len(data))
            (tmp_path / name).write_bytes(
                data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]
            )
            with pytest.raises(SelectionError, match="damaged"):
                Selection.load(tmp_path)
        (tmp_path / name).write_bytes(data)
    assert Selection.load(tmp_path) == sel


def test_a_newer_format_is_refused(sel, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_select.storage.FORMAT", 2)
    sel.save(tmp_path)
    monkeypatch.undo()
    with pytest.raises(SelectionError, match="newer hf_select"):
        Selection.load(tmp_path)


def test_keys_of_sliced_and_chunked_tables_agree(ds):
    halves = concatenate_datasets([ds.select(range(15)), ds.select(range(15, 30))])
    one, two = (hs.select_random(x, budget=3).key for x in (ds, halves))
    assert one.equals(two)
    assert isinstance(one, pa.Array)


def test_rows_that_share_a_key_and_are_all_kept_are_all_found():
    rows = Dataset.from_dict({"id": ["a", "b", "a", "c"], "x": [3.0, 1.0, 2.0, 0.0]})
    sel = hs.select_by_score(rows, budget=3, column="x", key="id")
    assert sorted(sel.apply(rows.select([3, 2, 1, 0]))["x"]) == [1.0, 2.0, 3.0]


def test_mark_gives_the_rank_of_choice():
    rows = Dataset.from_dict({"id": ["a", "b", "c", "d"], "x": [1.0, 3.0, 2.0, 0.0]})
    sel = hs.select_by_score(rows, budget=3, column="x", key="id")
    assert sel.mark(rows)["selection_rank"][:] == [2, 0, 1, None]
    assert sel.mark(rows.select([1, 0, 3, 2]))["selection_rank"][:] == [0, 2, None, 1]


def test_a_selector_of_ones_own_may_leave_rows_without_a_score():
    rows = Dataset.from_dict({"x": [1.0, 2.0, 3.0]})
    found = hs.Choice(rows, "mine", {}, budget=1.0, seed=None).close([1.0, float("nan"), 0.5])
    assert found.ranked.tolist() == [0, 2] and found.excluded == {"no score": 1}


def test_what_was_dropped_first_says_so(ds, sel):
    both = sel.then(hs.select_random(sel.apply(ds), budget=3))
    gone = [i for i in range(30) if i not in sel.indices]
    assert set(both.group[gone]) == {"dropped by select_by_score"}


def test_repeated_rows_are_refused_not_dropped(ds, sel):
    with pytest.raises(SelectionError, match="Row 30 repeats row 0"):
        sel.apply(concatenate_datasets([ds, ds]))
