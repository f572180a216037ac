"""The judge: trained as asked, found again, resumed, and refused where it would be another one."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import (
    TrainingArguments,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    Wav2Vec2Model,
)
from vocabulary import WORDS, network, words

import hf_select as hs
from hf_select.errors import ArgumentError, ColumnError, DatasetError

SMALL = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "conv_dim": (16, 16),
    "conv_stride": (10, 8), "conv_kernel": (10, 8), "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 16,
}  # fmt: skip


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def right(ds, model, extractor):
    return float(np.mean(hs.score(ds, model, extractor, columns="correct", overwrite=True)["correct"]))


def settings(folder, **more):
    return TrainingArguments(
        str(folder), per_device_train_batch_size=16, report_to="none", use_cpu=True, disable_tqdm=True, dataloader_pin_memory=False,
        **{"num_train_epochs": 12, "learning_rate": 5e-3, "save_strategy": "epoch", "save_total_limit": 1, **more},
    )  # fmt: skip


def test_it_learns_is_saved_and_found_again(tmp_path, caplog):
    ds, (model, extractor) = words(90, bad=True), network()
    before = right(words(60, seed=9), model, extractor)
    judge = hs.train_judge(ds, model, extractor, out=tmp_path / "judge", args=settings(tmp_path))
    assert "2 of 90 rows have no label, or no sound that can be read" in caplog.text
    after = right(words(60, seed=9), judge, extractor)
    assert not judge.training and after > max(0.5, before + 0.1)
    assert all(parameter.requires_grad for parameter in judge.parameters())
    assert {path.name for path in (tmp_path / "judge").iterdir()} >= {"config.json", "model.safetensors", "judge.json"}
    again = hs.train_judge(ds, *network(), out=tmp_path / "judge", args=settings(tmp_path, learning_rate=5e-3))
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), judge.parameters(), strict=True))
    for other in (
        {"ds": words(60)},
        {"args": settings(tmp_path, learning_rate=1e-3)},
        {"model": network(1)[0]},
    ):
        given = {"ds": ds, "model": network()[0], "args": settings(tmp_path), **other}
        with pytest.raises(ArgumentError, match="holds a judge with another"):
            hs.train_judge(given["ds"], given["model"], extractor, out=tmp_path / "judge", args=given["args"])
    by_name = hs.meltrim(
        hs.with_columns(ds, hs.MFCC()), tmp_path / "judge", budget=2, per="label", coarse={"reducer": "pca", "eps": 1e4}
    )
    assert len(by_name) == 6 and by_name.params["judge"] == str(tmp_path / "judge")


def test_a_run_that_was_stopped_goes_on(tmp_path):
    ds = words(48)
    whole = hs.train_judge(ds, *network(), out=tmp_path / "whole", args=settings(tmp_path, num_train_epochs=4))
    stopped = tmp_path / "stopped"
    hs.train_judge(ds, *network(), out=stopped, args=settings(tmp_path, num_train_epochs=4, save_total_limit=4))
    for path in stopped.iterdir():  # as if it had been killed after the second epoch
        if path.name.startswith("checkpoint-") and int(path.name.split("-")[1]) > 6:
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()
    assert sorted(path.name for path in stopped.iterdir()) == ["checkpoint-3", "checkpoint-6"]
    found = hs.train_judge(ds, *network(), out=stopped, args=settings(tmp_path, num_train_epochs=4))
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), whole.parameters(), strict=True))


def test_a_checkpoint_gets_a_new_head_and_clips_of_any_length(tmp_path):
    Wav2Vec2Model(Wav2Vec2Config(**SMALL)).save_pretrained(tmp_path / "base")
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(tmp_path / "base")
    ds = hs.with_columns(words(24), hs.MFCC(duration_column="duration"))  # as in the README
    ds = ds.remove_columns("label").add_column("label", [None, *words(24)["label"][1:]])
    how = {"out": tmp_path / "judge", "args": settings(tmp_path, num_train_epochs=1, learning_rate=1e-3)}
    judge = hs.train_judge(ds, tmp_path / "base", **how)
    torch.manual_seed(123)
    again = hs.train_judge(ds, tmp_path / "base", **how)  # found, though its head is new each time
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), judge.parameters(), strict=True))
    assert isinstance(judge, Wav2Vec2ForSequenceClassification)
    assert judge.config.id2label == dict(enumerate(sorted(WORDS)))
    cut = hs.score_segments(words(12, seed=5), tmp_path / "judge")
    assert None not in cut["segment_score"]
    assert json.loads((tmp_path / "judge" / "judge.json").read_text())["num_train_epochs"] == 1


def test_defaults_are_the_papers_where_it_has_any(tmp_path, monkeypatch):
    from transformers import Trainer

    seen = {}

    def train(self, **_):
        seen.update(epochs=self.args.num_train_epochs, rate=self.args.learning_rate, out=self.args.output_dir)
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "train", train)
    with pytest.raises(KeyboardInterrupt):
        hs.train_judge(words(9), *network(), out=tmp_path / "out")
    assert seen == {"epochs": 7, "rate": 1e-4, "out": str(tmp_path / "out")}


def test_bad_input(tmp_path):
    model, extractor = network()
    one = words(9).filter(lambda label: label == "low", input_columns=["label"])
    with pytest.raises(DatasetError, match="holds one class"):
        hs.train_judge(one, model, extractor, out=tmp_path)
    other = words(9).remove_columns("label").add_column("label", ["shrill"] * 9)
    with pytest.raises(ColumnError, match="the model has no class 'shrill'"):
        hs.train_judge(other, model, extractor, out=tmp_path)
    with pytest.raises(DatasetError, match="None of 9 rows has both a label and sound"):
        hs.train_judge(broken(), model, extractor, out=tmp_path)
    with pytest.raises(ArgumentError, match="The judge is a classifier"):
        hs.train_judge(words(9), Wav2Vec2Model(Wav2Vec2Config(**SMALL)), Wav2Vec2FeatureExtractor(), out=tmp_path)
    with pytest.raises(ArgumentError, match="can't be loaded as a classifier of sound"):
        hs.train_judge(words(9), str(tmp_path / "nowhere"), out=tmp_path)


def broken():
    from datasets import Audio, Dataset

    clips = [{"bytes": b"no sound", "path": f"{row}"} for row in range(9)]
    return Dataset.from_dict({"audio": clips, "label": list(WORDS) * 3}).cast_column("audio", Audio(decode=False))
