"""Splits share no speaker and no sound; classifiers start from their seed and hear what they should."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from hf_select.errors import ArgumentError, ColumnError, DatasetError
from hf_select.tasks import SECONDS, SpeechClassifier, open_splits


def clips(path, count=60, first=0, speakers=12, twins=()):
    """Write tones; `twins` are pairs of rows with the same sound."""
    rows = []
    for number in range(first, first + count):
        source = dict(twins).get(number, number)
        file = io.BytesIO()
        wave = np.sin(np.arange(8000 + 20 * source) * (0.05 + 0.1 * (source % 3))) * 0.3
        soundfile.write(file, wave, 16000, format="FLAC")
        audio = {"bytes": file.getvalue(), "path": f"{number}.flac"}
        rows.append({"audio": audio, "label": "abc"[source % 3], "speaker": f"s{number % speakers:02d}"})
    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def names(ds):
    return {row["path"] for row in ds.with_format(None).cast_column("audio", audio())["audio"]}


def audio():
    from datasets import Audio

    return Audio(decode=False)


def test_no_speaker_stands_on_two_sides(tmp_path):
    splits = open_splits(clips(tmp_path / "a.parquet"), seed=1, by=["snr_db"])
    parts = [splits.train, splits.pool, splits.validation, splits.test]
    speakers = [set(part["speaker"]) for part in parts]
    assert all(speakers) and sum(map(len, speakers)) == 12 and sum(map(len, parts)) == 60
    assert all({"snr_db", SECONDS} <= set(part.column_names) for part in parts)
    again = open_splits(clips(tmp_path / "a.parquet"), seed=1)
    other = open_splits(clips(tmp_path / "a.parquet"), seed=2)
    assert names(again.test) == names(splits.test) != names(other.test)


def test_sound_that_is_tested_is_not_trained_on(tmp_path):
    clean = open_splits(clips(tmp_path / "a.parquet"), seed=0)
    tested = int(sorted(names(clean.test))[0].split(".")[0])
    trained = int(sorted(names(clean.train))[0].split(".")[0])
    splits = open_splits(clips(tmp_path / "b.parquet", twins=[(trained, tested)]), seed=0)
    assert names(clean.train) - names(splits.train) == {f"{trained}.flac"}
    assert any("stand in validation or test too" in note for note in splits.notes)


def test_splits_that_are_named_are_taken_whole(tmp_path):
    folder = tmp_path / "pack"
    folder.mkdir()
    clips(folder / "train.parquet", 40)
    clips(folder / "test.parquet", 9, first=40)
    splits = open_splits(str(folder), train_split="train", test_split="test", pool_share=0.5)
    assert len(splits.test) == 9 and len(splits.train) + len(splits.pool) + len(splits.validation) == 40
    few = open_splits(str(folder), train_split="train", max_rows={"train": 4, "test": None})
    assert len(few.train) == 4


def test_what_is_refused(tmp_path):
    with pytest.raises(ColumnError, match="n_words is counted in what is said"):
        open_splits(clips(tmp_path / "a.parquet"), by=["n_words"])
    table = pa.table({"label": ["a"] * 40, "speaker": [f"s{n}" for n in range(40)]})
    pq.write_table(table, tmp_path / "b.parquet")
    with pytest.raises(DatasetError, match="no audio column"):
        open_splits(str(tmp_path / "b.parquet"))
    splits = open_splits(clips(tmp_path / "a.parquet"))
    with pytest.raises(ArgumentError, match="LeNets are"):
        SpeechClassifier("lenet-giant", splits)
    with pytest.raises(DatasetError, match="one class"):
        SpeechClassifier(
            "lenet-tiny", splits.map(lambda ds: ds.select([n for n, one in enumerate(ds["label"]) if one == "a"]))
        )


def test_a_checkpoint_hears_so_many_seconds(tmp_path):
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(16, 16),
        conv_stride=(10, 8), conv_kernel=(10, 8), num_feat_extract_layers=2, num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    Wav2Vec2Model(config).save_pretrained(tmp_path / "model")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "model")
    splits = open_splits(clips(tmp_path / "a.parquet"))
    classifier = SpeechClassifier(str(tmp_path / "model"), splits, max_length_seconds=0.25)
    rows = classifier.rows(splits.train)
    items = [rows[number] for number in range(4)]
    assert {len(item["input_values"]) for item in items} == {4000} and items[0].keys() == {"input_values", "labels"}
    batch = classifier.collate(items)
    model = classifier.new(3)
    assert model(**batch).logits.shape == (4, 3)
    assert not any(p.requires_grad for p in model.wav2vec2.feature_extractor.parameters())
    heads = [classifier.new(seed).classifier.weight for seed in (3, 3, 4)]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
    assert model.config.label2id == {"a": 0, "b": 1, "c": 2}


def test_lenets_hear_most_clips_whole(tmp_path):
    splits = open_splits(clips(tmp_path / "a.parquet"))
    classifier = SpeechClassifier("lenet-tiny", splits)
    assert classifier.heard == 0.6 and max(splits.train[SECONDS]) < 0.6  # so much every LeNet needs
    rows = classifier.rows(splits.pool)
    assert rows[0].keys() == {"input_features", "labels"} and set(splits.pool.column_names) <= set(rows.column_names)
    assert classifier.new(0)(**classifier.collate([rows[0], rows[1]])).logits.shape == (2, 3)
