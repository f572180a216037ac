"""What score() is asked for and refuses: each message says what is wrong, what was seen and what to do."""

from __future__ import annotations

import builtins
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, IterableDataset

import hf_select as hs
from hf_select.errors import ArgumentError, ColumnError, DatasetError, MissingPackageError
from hf_select.transforms.inputs import say_resampled

from .tiny import GROUP, WORDS, ctc, lenet, mixed, naming, sound, stored, table, wave_extractor, wave_model, whisper


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": "los"}, r"columns are some of embedding, probs.*got 'los'"),
        ({"columns": []}, r"columns are some of .*got \[\]"),
        ({"columns": ["loss", "loss"]}, r"each once; got \['loss', 'loss'\]"),
        ({"columns": 5}, r"columns are some of .*got 5"),
        ({"columns": "wer"}, r"'wer' comes from a model of kind ctc or seq2seq, and LeNet.* of kind classifier: it makes"),
        ({"columns": "loss", "batch_size": 0}, r"batch_size is a whole number of at least 1; got 0"),
        ({"columns": "loss", "batch_size": 2.0}, r"batch_size .*got 2.0"),
        ({"columns": "loss", "batch_size": True}, r"batch_size .*got True"),
        ({"columns": "loss", "pool": "max"}, r"pool is \"mean\" or \"none\"; got 'max'"),
        ({"columns": "loss", "grid": 0.0}, r"grid is a number of seconds above 0, up to max_seconds; got 0.0"),
        ({"columns": "loss", "grid": float("nan")}, r"grid .*got nan"),
        ({"columns": "loss", "grid": 700.0}, r"grid .*got 700.0"),
        ({"columns": "loss", "dtype": "int8"}, r"dtype is \"float32\", .*got 'int8'"),
        ({"columns": "loss", "dtype": "float"}, None),  # a name that torch knows too
        ({"columns": "loss", "dtype": "wide"}, r"dtype .*got 'wide'"),
        ({"columns": "embedding", "layer": 9}, r"layer=9: .*hidden states 0 to 3 \(or -4 to -1\)"),
        ({"columns": "embedding", "layer": "last"}, r"layer .*got 'last'"),
        ({"columns": "embedding", "layer": True}, r"layer .*got True"),
        ({"columns": "loss", "num_threads": 0}, r"num_threads .*got 0"),
        ({"columns": "loss", "max_seconds": 0.0}, r"max_seconds.* got 0.0"),
        ({"columns": "loss", "trust_remote_code": True}, r"revision= with the 40 hex digits.*got None"),
    ],
)  # fmt: skip
def test_arguments_outside_their_range(arguments, message, short):
    if message is None:
        assert len(hs.score(short, *lenet(), **arguments)["loss"]) == len(short)
        return
    with pytest.raises(ArgumentError, match=message):
        hs.score(short, *lenet(), **arguments)


def test_what_is_no_model(short):
    with pytest.raises(ArgumentError, match="model is a transformers model, or the name of one; got Linear"):
        hs.score(short, torch.nn.Linear(2, 2), wave_extractor(), columns="embedding")
    with pytest.raises(ArgumentError, match="got int"):
        hs.score(short, 7, wave_extractor(), columns="embedding")
    with pytest.raises(ArgumentError, match="'nobody/nothing' can't be loaded as AutoConfig"):
        hs.score(short, "nobody/nothing", columns="embedding")


def test_what_is_no_processor(short):
    model, _ = lenet()
    with pytest.raises(ArgumentError, match=r"Which processor makes the inputs of this LeNet.*Pass processor="):
        hs.score(short, model, columns="loss")
    with pytest.raises(ArgumentError, match=r"processor is a feature extractor for sound.*got SimpleNamespace"):
        hs.score(short, model, SimpleNamespace(), columns="loss")
    with pytest.raises(ArgumentError, match=r"'nobody/nothing' can't be loaded as AutoFeatureExtractor"):
        hs.score(short, model, "nobody/nothing", columns="loss")


def test_what_is_no_dataset(short):
    with pytest.raises(DatasetError, match="score needs a map-style Dataset and got an IterableDataset"):
        hs.score(IterableDataset.from_generator(lambda: iter([])), *lenet(), columns="loss")
    with pytest.raises(ColumnError, match=r"there is none\. Name it with audio=\. Columns there are: a"):
        hs.score(Dataset.from_dict({"a": [1]}), *lenet(), columns="loss")
    with pytest.raises(ColumnError, match=r"Columns there are: audio, label, text, words"):
        hs.score(short, *lenet(), columns="loss", audio="sound")


def test_another_audio_column_by_name(short):
    renamed = short.rename_column("audio", "heard")
    assert (
        hs.score(renamed, *lenet(), columns="loss", audio="heard")["loss"]
        == hs.score(short, *lenet(), columns="loss")["loss"]
    )


def test_a_column_that_is_there_is_kept_unless_told(short):
    ds = short.add_column("loss", [7.0] * len(short))
    with pytest.raises(ColumnError, match=r"a column 'loss' already: pass overwrite=True, or prefix="):
        hs.score(ds, *lenet(), columns=["probs", "loss"])
    with pytest.raises(ColumnError, match="'x_probs' already"):
        hs.score(short.add_column("x_probs", [0] * len(short)), *lenet(), columns="probs", prefix="x_")
    replaced = hs.score(ds, *lenet(), columns="loss", overwrite=True)
    assert replaced["loss"] == hs.score(short, *lenet(), columns="loss")["loss"]
    assert ds["loss"][:] == [7.0] * len(short)
    assert hs.score(ds, *lenet(), columns="loss", prefix="new_")["loss"][:] == [7.0] * len(short)


def test_names_decide_not_numbers(short):
    model, extractor = lenet()
    wanted = hs.score(short, model, extractor, columns=["loss", "correct", "predicted"])
    other = ClassLabel(names=sorted(WORDS))  # an order that is not the model's
    assert other.names != list(WORDS)
    numbers = short.cast_column("label", other)
    found = hs.score(numbers, model, extractor, columns=["loss", "correct", "predicted"])
    for name in ("loss", "correct", "predicted"):
        assert found[name][:] == wanted[name][:]
    assert found.features["predicted"].names == list(WORDS)


def test_a_row_without_a_label_has_no_loss(short):
    for empty in (None, -1):
        labels = list(short["label"])
        named = table(short.data["audio"].to_pylist(), label=labels)
        if empty == -1:
            named = named.cast_column("label", ClassLabel(names=list(WORDS)))
            numbers = [-1 if i == 3 else y for i, y in enumerate(named["label"])]
            named = named.remove_columns("label").add_column("label", numbers, feature=ClassLabel(names=list(WORDS)))
        else:
            named = table(short.data["audio"].to_pylist(), label=[None if i == 3 else y for i, y in enumerate(labels)])
        found = hs.score(named, *lenet(), columns=["loss", "correct", "probs"])
        assert [i for i, loss in enumerate(found["loss"]) if loss is None] == [3]
        assert found["correct"][3] is None and found["probs"][3] is not None and found["audio_status"][3] == "ok"


def test_labels_that_the_model_does_not_have(short):
    ds = table(short.data["audio"].to_pylist(), label=["yes", "maybe", "perhaps"] * 3 + ["no"])
    with pytest.raises(
        ColumnError, match=r"has no class 'maybe' \(and 1 others\).*classes are yes, no, up, down.*label2id"
    ):
        hs.score(ds, *lenet(), columns="correct")
    assert len(hs.score(ds, *lenet(), columns="probs")["probs"]) == 10  # which needs no label
    with pytest.raises(ColumnError, match=r"label=: there is no column 'truth'"):
        hs.score(ds, *lenet(), columns="loss", label="truth")


def test_numbers_serve_only_a_model_that_has_no_names(short):
    clips = short.data["audio"].to_pylist()
    numbers = table(clips, label=[i % 4 for i in range(10)])
    nameless, extractor = lenet(names=("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3"))
    wanted = hs.score(short, *lenet(), columns=["loss", "correct"])  # the same weights, labels by name
    found = hs.score(numbers, nameless, extractor, columns=["loss", "correct"])
    assert found["loss"][:] == wanted["loss"][:] and found["correct"][:] == wanted["correct"][:]
    with pytest.raises(ColumnError, match="the model has no class '0'"):
        hs.score(numbers, *lenet(), columns="loss")
    with pytest.raises(ColumnError, match="the model has no class 'LABEL_4'"):
        hs.score(table(clips, label=[4] * 10), nameless, extractor, columns="loss")
    with pytest.raises(ColumnError, match="the model has no class 'down'"):  # names are not numbered for it
        hs.score(short.cast_column("label", ClassLabel(names=list(WORDS))), nameless, extractor, columns="loss")


def test_texts_are_needed_and_are_text(short, tmp_path):
    model, processor = ctc(tmp_path)
    with pytest.raises(ColumnError, match=r"text=: there is no column 'text'"):
        hs.score(short.remove_columns("text"), model, processor, columns="wer")
    ds = short.remove_columns("text").add_column("text", list(range(10)))
    with pytest.raises(ColumnError, match=r"text='text' holds int64, and text is needed"):
        hs.score(ds, model, processor, columns="loss")
    with pytest.raises(ArgumentError, match=r"need its tokenizer: pass a processor= that holds feature extractor and"):
        hs.score(short, model, processor.feature_extractor, columns="transcript")
    assert len(hs.score(short, model, processor.feature_extractor, columns="embedding")) == 10


@pytest.mark.parametrize("batch_size", [1, 8])
def test_texts_in_another_case_than_the_tokenizers(batch_size, short, tmp_path):
    model, processor = ctc(tmp_path)
    with pytest.raises(ColumnError, match=r"does not know \d+ % of the tokens of texts such as 'yes'.*another case"):
        hs.score(short, model, processor, columns="loss", text="words", batch_size=batch_size)
    # a few such texts are their rows' own matter, whatever batch they are in
    texts = ["1234" if i == 4 else text for i, text in enumerate(short["text"])]
    ds = short.remove_columns("text").add_column("text", texts)
    found = hs.score(ds, model, processor, columns="loss", batch_size=batch_size)
    assert None not in found["loss"][:]


def test_jiwer_is_asked_for_by_name(short, tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name == "jiwer":
            raise ImportError("No module named 'jiwer'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    model, processor = ctc(tmp_path)
    with pytest.raises(MissingPackageError, match=r"'wer' is counted by jiwer: pip install \"hf-select\[asr\]\""):
        hs.score(short, model, processor, columns="wer")
    assert len(hs.score(short, model, processor, columns="transcript")) == 10


@pytest.mark.parametrize("columns", [["loss", "probs", "predicted", "correct", "embedding"], ["embedding"]])
def test_no_rows_at_all(columns, short):
    for none in (short.select([]), short.shuffle(seed=0).select([]), table([], label=[])):
        found = hs.score(none, *lenet(), columns=columns)
        assert len(found) == 0 and found.column_names[-len(columns) - 1 :] == [*columns, "audio_status"]
        assert found[:]["audio_status"] == []
    model, processor = whisper()
    for pool in ("mean", "none"):
        assert len(hs.score(table([], text=[]), model, processor, columns="embedding", pool=pool)) == 0


def test_one_row(short):
    all_rows = hs.score(short, *lenet(), columns=["loss", "embedding"])
    one = hs.score(short.select([6]), *lenet(), columns=["loss", "embedding"])
    assert one["loss"][0] == pytest.approx(all_rows["loss"][6], rel=1e-5)
    np.testing.assert_allclose(one["embedding"][0], all_rows["embedding"][6], rtol=1e-4, atol=1e-5)


def test_resampling_is_said_once(caplog):
    say_resampled.cache_clear()  # earlier tests have heard it
    clips = [stored(sound(0.4, seed, 8000), 8000, name=str(seed)) for seed in range(12)]
    with caplog.at_level(logging.WARNING):
        hs.score(table(clips), wave_model("Wav2Vec2", **GROUP), wave_extractor(), columns="embedding", batch_size=2)
    assert [text for text in caplog.messages if "resampled" in text] == [
        "Clips of 8000 Hz are resampled to 16000 Hz, the processor's rate."
    ]


def test_clips_longer_than_the_model_hears_are_counted(short, caplog):
    clips = [*short.data["audio"].to_pylist(), stored(sound(1.5, 1), name="a"), stored(sound(1.0, 2), name="b")]
    with caplog.at_level(logging.WARNING):
        hs.score(table(clips), *lenet(), columns="embedding")
    assert caplog.messages == [
        "1 of 12 clips are longer than the 1 s that LeNetForAudioClassification hears: what comes after has no part in their scores."
    ]
    with caplog.at_level(logging.WARNING):
        caplog.clear()
        model, processor = whisper(seconds=2)
        hs.score(table([stored(sound(2.5, 1))]), model, processor, columns="embedding")
    assert "1 of 1 clips are longer than the 2 s that WhisperForConditionalGeneration hears" in caplog.text


def test_a_duration_column_saves_the_look_at_headers_and_changes_nothing(made, monkeypatch):
    model, extractor = wave_model("Wav2Vec2", "ForSequenceClassification", **GROUP, **naming(WORDS)), wave_extractor()
    wanted = hs.score(made, model, extractor, columns="loss")
    monkeypatch.setattr("hf_select.scoring.plan.claimed_seconds", lambda *_: pytest.fail("a header was read"))
    lying = made.add_column("duration", [float("nan"), -1.0, 1e9] * 5)  # it orders the work, no more
    found = hs.score(lying, model, extractor, columns="loss")
    np.testing.assert_allclose(found["loss"], wanted["loss"], rtol=1e-5)


def test_plan_score_counts_what_is_to_do(tmp_path, caplog):
    ds = table(mixed(40, longest=0.6), label=[WORDS[i % 4] for i in range(40)])
    arguments = {"columns": ["loss"], "out": tmp_path / "out"}
    plan = hs.plan_score(ds, *lenet(), **arguments)
    clips = [hs.audio.read_clip(clip) for clip in ds.data["audio"].to_pylist()]
    assert (plan.rows, plan.total, plan.processes) == (40, 40, 1)
    assert plan.hours == pytest.approx(sum(clip.duration for clip in clips) / 3600, rel=1e-6)
    assert plan.gigabytes == pytest.approx(sum(len(c["bytes"]) for c in ds.data["audio"].to_pylist()) / 1e9, rel=0.2)
    assert 0 < plan.minutes < 1
    assert str(plan).startswith("40 rows, 0.00 hours") and str(plan).endswith("about 0.1 min on 1 process")
    hs.score(ds, *lenet(), **arguments)
    assert hs.plan_score(ds, *lenet(), **arguments).rows == 0
