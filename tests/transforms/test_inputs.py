"""AudioInputs feeds transformers models from raw rows, with no ffmpeg, and says what is wrong with a row."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from hf_select.errors import AudioError, ColumnError
from hf_select.transforms import AudioInputs
from hf_select.transforms.inputs import say_resampled

from .conftest import audio_table, flac, voice


@pytest.fixture(scope="module")
def extractor():
    from transformers import Wav2Vec2FeatureExtractor

    return Wav2Vec2FeatureExtractor()


@pytest.fixture
def no_decoding(monkeypatch):
    """Make any decoding by datasets itself fail, as on a box without ffmpeg."""
    from datasets import Audio

    def poisoned(*args, **kwargs):
        raise AssertionError("datasets decoded a clip")

    monkeypatch.setattr(Audio, "decode_example", poisoned)


def labelled(n: int = 8, rate: int = 16000):
    from datasets import ClassLabel

    clips = [flac(voice(0.2 + 0.02 * i, i, rate), rate) for i in range(n)]
    return audio_table(clips, label=["yes", "no"] * (n // 2)), ClassLabel(names=["no", "yes"])


def test_gives_what_the_processor_gives(extractor):
    samples = voice(0.3, 1)
    out = AudioInputs(extractor)({"audio": [{"array": samples, "sampling_rate": 16000}]})
    assert list(out) == ["input_values"]
    wanted = extractor(samples, sampling_rate=16000)["input_values"][0]
    assert np.array_equal(out["input_values"][0], wanted)


def test_value_does_not_depend_on_the_batch(extractor):
    clips = [flac(voice(0.1 + 0.05 * i, i)) for i in range(8)]
    together = AudioInputs(extractor)({"audio": clips})["input_values"]
    alone = [AudioInputs(extractor)({"audio": [clip]})["input_values"][0] for clip in clips]
    assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))


def test_resamples_and_says_so_once(extractor, caplog):
    say_resampled.cache_clear()
    clips = [flac(voice(0.5, i, 8000), 8000) for i in range(3)]
    with caplog.at_level(logging.WARNING, logger="hf_select"):
        out = [AudioInputs(extractor)({"audio": clips}) for _ in range(2)]
    assert [len(values) for values in out[0]["input_values"]] == [8000] * 3
    said = [record.getMessage() for record in caplog.records]
    assert said == ["Clips of 8000 Hz are resampled to 16000 Hz, the processor's rate."]


def test_reads_segments_where_columns_name_them(extractor):
    samples = voice(1.0, 1)
    rows = {"audio": [{"array": samples, "sampling_rate": 16000}] * 2, "from": [0.25, None], "to": [0.75, None]}
    out = AudioInputs(extractor, start_column="from", end_column="to")(rows)["input_values"]
    assert [len(values) for values in out] == [8000, 16000]
    assert np.array_equal(out[0], extractor(samples[4000:12000], sampling_rate=16000)["input_values"][0])


def test_takes_the_extractor_out_of_a_processor(extractor):
    class Processor:
        feature_extractor = extractor
        tokenizer = object()

    assert AudioInputs(Processor()) == AudioInputs(extractor)


@pytest.mark.parametrize("processor", ["facebook/wav2vec2-base", object(), None])
def test_something_without_a_rate_is_refused(processor):
    with pytest.raises(ValueError, match="feature extractor for sound"):
        AudioInputs(processor)


def test_map_needs_no_cast_and_features_fit(extractor, no_decoding):
    ds, names = labelled()
    ds = ds.cast_column("label", names)
    transform = AudioInputs(extractor, label_column="label")
    out = ds.map(transform, batched=True, remove_columns=ds.column_names, features=transform.features)
    assert out["labels"][:4] == [1, 0, 1, 0]
    assert len(out["input_values"][0]) == 3200


def test_whisper_extractor_works(no_decoding):
    from transformers import WhisperFeatureExtractor

    ds, names = labelled(4, rate=8000)
    ds = ds.cast_column("label", names)
    transform = AudioInputs(WhisperFeatureExtractor(feature_size=8, chunk_length=1), label_column="label")
    out = ds.map(transform, batched=True, remove_columns=ds.column_names, features=transform.features)
    assert np.shape(out["input_features"][0]) == (8, 100)
    alone = transform({"audio": [ds.data.column("audio")[1].as_py()], "label": [0]})["input_features"][0]
    assert np.abs(np.array(out["input_features"][1]) - alone).max() < 1e-6


def test_string_labels_ask_for_an_encoding_or_label2id(extractor):
    batch = {"audio": [flac(voice(0.2, 1))], "label": ["yes"]}
    with pytest.raises(ColumnError, match=r"class_encode_column\('label'\).*label2id"):
        AudioInputs(extractor, label_column="label")(batch)
    assert AudioInputs(extractor, label_column="label", label2id={"yes": 4})(batch)["labels"] == [4]
    with pytest.raises(ColumnError, match=r"'yes', which is not in label2id. Labels there are: 'no'"):
        AudioInputs(extractor, label_column="label", label2id={"no": 0})(batch)
    with pytest.raises(ColumnError, match="holds None"):
        AudioInputs(extractor, label_column="label")({**batch, "label": [None]})


def test_a_bad_clip_is_named_with_the_reason_and_the_cure(extractor):
    batch = {"audio": [flac(voice(0.2, 1)), {"bytes": b"no sound", "path": "speaker7/42.flac"}]}
    with pytest.raises(AudioError, match=r"Row 1 .*'speaker7/42.flac'.*unreadable: .*audio_status"):
        AudioInputs(extractor)(batch)
    with pytest.raises(AudioError, match=r"Row 0 of this batch can't be read: missing"):
        AudioInputs(extractor)({"audio": [None]})


def test_missing_column_names_those_there_are(extractor):
    with pytest.raises(ColumnError, match=r"no column 'label'.*audio"):
        AudioInputs(extractor, label_column="label")({"audio": [flac(voice(0.2, 1))]})


def test_hash_is_stable_after_use_and_follows_the_extractor(extractor):
    from datasets.fingerprint import Hasher
    from transformers import Wav2Vec2FeatureExtractor

    transform = AudioInputs(extractor, label_column="label")
    before = Hasher.hash(transform)
    transform({"audio": [flac(voice(0.2, 1))], "label": [1]})
    assert Hasher.hash(transform) == before
    other = AudioInputs(Wav2Vec2FeatureExtractor(do_normalize=False), label_column="label")
    assert Hasher.hash(other) != before


def test_the_audio_classification_example_trains_without_ffmpeg(extractor, tmp_path, no_decoding):
    import torch
    from datasets import Audio
    from transformers import Trainer, TrainingArguments, Wav2Vec2Config, Wav2Vec2ForSequenceClassification

    ds, names = labelled()
    ds = ds.cast_column("label", names).cast_column("audio", Audio(sampling_rate=16000, decode=False))
    ds.set_transform(AudioInputs(extractor, label_column="label"))
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_stride=(10, 8),
        conv_kernel=(10, 8),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        classifier_proj_size=8,
        num_labels=2,
        mask_time_prob=0.0,
    )
    arguments = TrainingArguments(
        str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=4,
        remove_unused_columns=False,
        report_to="none",
        use_cpu=True,
    )
    model = Wav2Vec2ForSequenceClassification(config)
    before = model.classifier.weight.detach().clone()
    result = Trainer(model, arguments, train_dataset=ds, processing_class=extractor).train()
    assert result.global_step == 2
    assert np.isfinite(result.training_loss)
    assert not torch.equal(model.classifier.weight, before)
