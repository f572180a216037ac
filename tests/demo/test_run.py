"""The demo, small: it writes all that it says, and its numbers are its own."""

from __future__ import annotations

import pytest

pytest.importorskip("espeakng_loader", reason="the demo needs hf-select[demo]")

import pandas as pd
from datasets import load_dataset

import hf_select as hs
from hf_select.demo.run import run_demo
from hf_select.errors import OutputError


@pytest.mark.slow
def test_demo_writes_what_it_says(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_select.demo.run.EPOCHS", 6)
    text = run_demo(tmp_path / "demo", clips=400, seeds=1)
    small = load_dataset(str(tmp_path / "demo"), split="train", cache_dir=str(tmp_path / "cache"))
    sel = hs.Selection.load(tmp_path / "demo")
    assert len(small) == len(sel) == 196 and sel.num_rows == 280  # 0.7 of the training split
    assert {"audio", "label", "gender", "accent", "snr_db"} <= set(
        small.column_names
    ) and "mfcc" not in small.column_names
    assert (tmp_path / "demo" / "report.md").exists() and len(list((tmp_path / "demo" / "figures").glob("*.png"))) >= 2
    runs = pd.read_csv(tmp_path / "demo" / "comparison.csv")
    assert runs["rows"].tolist() == [196, 196, 280] and runs["steps"].tolist() == [42, 42, 54]
    assert (runs["accuracy"] > 2 / 22).all()  # more than chance after a few steps
    for accuracy in runs["accuracy"]:
        assert f"{accuracy:.3f}" in text
    with pytest.raises(OutputError, match="--overwrite"):
        run_demo(tmp_path / "demo")
