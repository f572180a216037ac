"""Scores of an earlier run, joined to the rows they belong to."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset, load_from_disk

import hf_select as hs
from hf_select.errors import ColumnError, DatasetError

from .conftest import Counted, bad_clips, labelled
from .tiny import WORDS, mixed, table


def test_scores_find_their_rows(counted, made, tmp_path):
    scored = counted.score(made, tmp_path / "out")
    wanted = dict(zip((clip["path"] for clip in made.with_format(None)["audio"]), scored["loss"], strict=True))
    made.save_to_disk(tmp_path / "saved")
    views = [
        made, made.shuffle(seed=2), made.select([3, 3, 8]), made.select([]), load_from_disk(tmp_path / "saved"),
        made.filter(lambda label: label == "no", input_columns="label"), made.shuffle(seed=4).flatten_indices(),
        table(made.data["audio"].to_pylist()[::-1]),
    ]  # fmt: skip
    for ds in views:
        found = hs.load_scores(ds, tmp_path / "out")
        assert found["loss"][:] == [wanted[clip["path"]] for clip in ds.with_format(None)["audio"]]
        assert found.features["predicted"].names == list(WORDS) and found.column_names[-1] == "audio_status"
    with pytest.raises(ColumnError, match="a column 'loss' already: pass overwrite=True"):
        hs.load_scores(scored, tmp_path / "out")
    assert hs.load_scores(scored, tmp_path / "out", overwrite=True)["loss"][:] == scored["loss"][:]


def test_names_of_classes_come_from_what_the_checksum_covers(counted, short, tmp_path):
    counted.score(short, tmp_path)
    (tmp_path / "scores.json").write_text("damaged")
    assert hs.load_scores(short.shuffle(seed=0), tmp_path).features["predicted"].names == list(WORDS)


def test_scores_of_other_rows_are_refused(counted, made, short, tmp_path):
    counted.score(made.select(range(8)), tmp_path)
    with pytest.raises(DatasetError, match=r"7 of 15 rows are not among the 8 clips of .*the first is row 8"):
        hs.load_scores(made, tmp_path)
    with pytest.raises(DatasetError, match="holds no finished scores"):
        hs.load_scores(made, tmp_path / "nothing")
    with pytest.raises(ColumnError, match=r"there is no audio column: a"):
        hs.load_scores(Dataset.from_dict({"a": [1]}), tmp_path)


def test_one_clip_with_two_labels_is_told_apart_by_place_alone(counted, tmp_path):
    clip = mixed(1)[0]
    ds = table([clip, clip, clip], label=["yes", "no", "yes"])
    counted.score(ds, tmp_path, columns=["loss"])
    found = hs.load_scores(ds, tmp_path)["loss"]
    assert found[0] == found[2] != found[1]
    with pytest.raises(DatasetError, match=r"Rows 0 and 1 of .*have one clip and different scores"):
        hs.load_scores(ds.select([1, 0]), tmp_path)


def test_null_rows_are_loaded_too(counted, tmp_path):
    bad = [clip for name, clip in bad_clips().items() if name != "refused"]
    ds = labelled([*mixed(3, longest=0.5), *bad])
    scored = counted.score(ds, tmp_path)
    turned = ds.select(range(len(ds))[::-1])
    found = hs.load_scores(turned, tmp_path)
    for name in ("loss", "audio_status", "predicted", "embedding"):
        assert found[name][:] == scored[name][::-1]


def test_scores_of_part_of_a_table_keep_their_places(counted, made, tmp_path):
    some = made.select([9, 2, 12])
    scored = counted.score(some, tmp_path)
    every = Counted().score(made)
    np.testing.assert_allclose(scored["loss"], [every["loss"][row] for row in (9, 2, 12)], rtol=1e-5)
    assert hs.load_scores(some, tmp_path)["loss"][:] == scored["loss"][:]
