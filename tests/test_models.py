"""The LeNets: sizes, numbers by hand and by librosa, errors, and a real Trainer on real (synthetic) sound."""

from __future__ import annotations

import io
import math

import datasets
import librosa
import numpy as np
import pytest
import soundfile
import torch
from datasets import ClassLabel, Dataset
from torch import nn
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    AutoProcessor,
    Trainer,
    TrainingArguments,
    pipeline,
)

from hf_select.columns import with_columns
from hf_select.errors import AudioError, ColumnError, DatasetError
from hf_select.models import (
    LENET_LAYERS,
    LeNetConfig,
    LeNetFeatureExtractor,
    LeNetForAudioClassification,
    pad_frames,
)
from hf_select.transforms import AudioInputs

RATE = 16000
TONES = (300.0, 600.0, 1200.0, 2400.0)


def tone(frequency: float, rng: np.random.Generator, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    wave = rng.uniform(0.1, 0.5) * np.sin(2 * np.pi * (frequency * rng.uniform(0.95, 1.05) * time + rng.uniform()))
    return (wave + 0.05 * rng.standard_normal(len(time))).astype(np.float32)


def wav(wave: np.ndarray) -> dict[str, object]:
    file = io.BytesIO()
    soundfile.write(file, wave, RATE, format="WAV", subtype="FLOAT")
    return {"bytes": file.getvalue(), "path": None}


@pytest.fixture(scope="module")
def extractor() -> LeNetFeatureExtractor:
    return LeNetFeatureExtractor()


@pytest.fixture(scope="module")
def tones(extractor) -> Dataset:
    """240 noisy tones of 0.7 to 1.2 s in four classes, with the column that `mfcc()` makes of their WAV bytes."""
    rng = np.random.default_rng(7)
    labels = [row % len(TONES) for row in range(240)]
    audio = [wav(tone(TONES[label], rng, rng.uniform(0.7, 1.2))) for label in labels]
    columns = extractor.mfcc()({"audio": audio})
    ds = Dataset.from_dict({"mfcc": columns["mfcc"], "label": labels})
    return ds.cast_column("label", ClassLabel(names=[f"{frequency:.0f} Hz" for frequency in TONES]))


def lenet(**fields) -> LeNetForAudioClassification:
    torch.manual_seed(0)
    return LeNetForAudioClassification(LeNetConfig(**fields)).eval()


# the model


@pytest.mark.parametrize(("size", "parameters"), [("large", 268_270), ("small", 29_655), ("tiny", 3_480)])
def test_sizes_are_the_papers(size, parameters):
    model = lenet(size=size, num_labels=36)
    assert model.num_parameters() == sum(weights.numel() for weights in model.parameters()) == parameters
    assert model(torch.zeros(2, 99, 32)).logits.shape == (2, 36)


@pytest.mark.parametrize("size", LENET_LAYERS)
def test_the_layers_stand_in_the_order_of_the_paper(size):
    """An independent chain of torch modules with the same weights gives the same logits."""
    model, chain = lenet(size=size, num_labels=5), []
    for convolution in model.convolutions:
        chain += [convolution, nn.ReLU(), nn.AvgPool2d(2)]
    chain.append(nn.Flatten())
    for dense in model.dense:
        chain += [dense, nn.ReLU()]
    images = torch.randn(3, 99, 32, generator=torch.Generator().manual_seed(1))
    expected = nn.Sequential(*chain, model.classifier)(images[:, None])
    torch.testing.assert_close(model(images).logits, expected, rtol=0, atol=0)
    torch.testing.assert_close(model(images.flatten(1)).logits, expected, rtol=0, atol=0)  # flat rows too


def test_dropout_acts_in_training_before_every_dense_layer():
    model = lenet(size="large", dropout=0.5)
    seen = []
    model.dropout.register_forward_hook(lambda module, args, output: seen.append(float((output == 0).float().mean())))
    images = torch.rand(4, 99, 32)
    assert torch.equal(model(images).logits, model(images).logits)
    seen.clear()
    model.train()
    assert not torch.equal(model(images).logits, model(images).logits)
    assert len(seen) == 2 * 3 and min(seen) > 0.3


def test_hidden_states_end_with_what_the_classifier_sees():
    images = torch.randn(2, 99, 32)
    tiny, small = [(4, 49, 15), (8, 24, 7), (8, 10, 3), (16, 3, 1)], [(3, 49, 15), (8, 22, 6), (16, 9, 2), (84,)]
    for size, shapes in (("tiny", tiny), ("small", small)):
        model = lenet(size=size)
        output = model(images, output_hidden_states=True)
        assert [tuple(state.shape[1:]) for state in output.hidden_states] == shapes
        torch.testing.assert_close(model.classifier(output.hidden_states[-1].flatten(1)), output.logits)
        assert model(images).hidden_states is None


def test_weights_start_as_hes_uniform_and_by_seed():
    model, again = lenet(size="large"), lenet(size="large")
    for layer in [*model.convolutions, *model.dense, model.classifier]:
        bound = math.sqrt(6 / layer.weight[0].numel())
        assert layer.weight.abs().max() <= bound and layer.bias.abs().max() == 0
    assert float(model.dense[0].weight.detach().std()) == pytest.approx(math.sqrt(2 / 2112), rel=0.02)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_the_loss_is_cross_entropy_and_reaches_every_weight():
    model = lenet(size="small", num_labels=3)
    images, labels = torch.randn(4, 99, 32), torch.tensor([0, 2, 1, 1])
    output = model(images, labels=labels)
    torch.testing.assert_close(output.loss, nn.functional.cross_entropy(output.logits, labels))
    output.loss.backward()
    assert all(weights.grad is not None and weights.grad.abs().sum() > 0 for weights in model.parameters())
    assert isinstance(model(images, labels=labels, return_dict=False), tuple)


@pytest.mark.parametrize("shape", [(2, 199, 32), (2, 99, 20), (2, 1, 99, 32), (2, 3169), None])
def test_input_of_another_size_is_refused_with_both_sizes(shape):
    with pytest.raises(ValueError, match=r"\(batch, 99, 32\)"):
        lenet()(None if shape is None else torch.zeros(shape))


# the configuration


def test_two_second_clips(tmp_path):
    model = lenet(size="tiny", num_frames=199, num_labels=4)
    assert model.config.feature_maps == [(99, 15), (49, 7), (23, 3), (10, 1)] and model.config.flat_size == 160
    model.save_pretrained(tmp_path)
    loaded = AutoModelForAudioClassification.from_pretrained(tmp_path).eval()
    images = torch.randn(2, 199, 32)
    assert torch.equal(model(images).logits, loaded(images).logits)


def test_layers_of_ones_own(tmp_path):
    config = LeNetConfig(conv_channels=(4,), conv_kernels=((3, 3),), dense_sizes=(), num_labels=2, dropout=0)
    assert config.size == "custom" and config.feature_maps == [(48, 15)]
    assert LeNetForAudioClassification(config).num_parameters() == 4 * 10 + 4 * 48 * 15 * 2 + 2
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(loaded, LeNetConfig)
    assert {**loaded.to_dict(), "_name_or_path": ""} == config.to_dict()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": "huge"}, "size='huge' has no layers.*'large', 'small', 'tiny'"),
        ({"size": "custom"}, "give conv_channels"),
        ({"conv_channels": [4]}, "together.*got conv_channels"),
        ({"size": "tiny", "conv_channels": [4], "conv_kernels": [[2, 2]], "dense_sizes": []}, "not the layers of size"),
        ({"conv_channels": [4, 8], "conv_kernels": [[2, 2]], "dense_sizes": []}, "kernel of two sides"),
        ({"conv_channels": [4], "conv_kernels": [3], "dense_sizes": []}, "kernel of two sides"),
        ({"conv_channels": [4], "conv_kernels": [[2, 0]], "dense_sizes": []}, "at least 1"),
        ({"num_frames": 99.5}, "at least 1.*num_frames=99.5"),
        ({"num_mfcc": 0}, "num_mfcc=0"),
        ({"dropout": 1.0}, "dropout must be from 0 to under 1, and is 1.0"),
        ({"num_labels": 0}, "num_labels must be at least 1"),
        (
            {"size": "tiny", "num_mfcc": 20},
            r"99 frames x 20 coefficients.*\[\(49, 9\), \(24, 4\), \(10, 1\), \(3, 0\)\]",
        ),
        ({"size": "large", "num_frames": 9}, r"9 frames x 32 coefficients.*\[\(4, 15\), \(0, 6\)\]"),
    ],
)
def test_layers_that_can_not_be_built_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        LeNetConfig(**fields)


def test_an_edited_config_is_checked_again():
    config = LeNetConfig(size="tiny")
    config.num_mfcc = 8
    with pytest.raises(ValueError, match="99 frames x 8 coefficients"):
        LeNetForAudioClassification(config)


def test_the_smallest_input_that_fits_is_accepted():
    assert LeNetConfig(size="large", num_frames=13, num_mfcc=9).feature_maps[-1] == (1, 1)
    for frames, coefficients in ((12, 9), (13, 8)):
        with pytest.raises(ValueError, match="too small"):
            LeNetConfig(size="large", num_frames=frames, num_mfcc=coefficients)


# the feature extractor


def test_one_second_is_99_frames_of_librosa(extractor):
    wave = tone(440, np.random.default_rng(0))
    settings = {"n_mfcc": 32, "n_fft": 320, "hop_length": 160, "n_mels": 40, "center": False}
    expected = librosa.feature.mfcc(y=wave, sr=RATE, **settings).T
    features = extractor(wave, sampling_rate=RATE)["input_features"]
    assert expected.shape == (99, 32) and features.shape == (1, 99, 32) and features.dtype == np.float32
    np.testing.assert_allclose(features[0], expected, atol=1e-3)


def test_a_column_and_sound_give_the_same_input(extractor):
    rng = np.random.default_rng(1)
    waves = [tone(500, rng, seconds) for seconds in (0.01, 0.5, 1.0, 1.7)]
    column = extractor.mfcc()({"audio": [wav(wave) for wave in waves]})
    fitted = LeNetFeatureExtractor().fit(column["mfcc"])
    from_column = fitted.from_mfcc(column)["input_features"]
    np.testing.assert_array_equal(fitted(waves, sampling_rate=RATE)["input_features"], from_column)
    served = AudioInputs(fitted)({"audio": [wav(wave) for wave in waves]})["input_features"]
    np.testing.assert_array_equal(np.stack(served), from_column)


def test_short_clips_are_filled_up_and_long_ones_cut():
    extractor = LeNetFeatureExtractor(feature_size=2, num_frames=3, n_mels=8, mean=[1.0, 10.0], std=[1.0, 5.0])
    short, long = np.array([[2.0, 20.0]]), np.arange(10.0).reshape(5, 2)
    features = extractor.from_mfcc({"mfcc": [short, long]})["input_features"]
    np.testing.assert_allclose(features[0], [[1, 2], [0, 0], [0, 0]])
    np.testing.assert_allclose(features[1], (long[:3] - [1, 10]) / [1, 5])
    assert pad_frames(long, 5).shape == (5, 2) and pad_frames(long, 6, value=-1.0)[5].tolist() == [-1, -1]


def test_statistics_are_those_of_all_frames_and_survive_a_save(tmp_path):
    rng = np.random.default_rng(2)
    matrices = [rng.normal(-300, 40, (frames, 32)).astype(np.float32) for frames in (1, 50, 99, 120)]
    for matrix in matrices:
        matrix[:, 31] = 4.0
    every = np.concatenate(matrices).astype(np.float64)
    rows = [matrices[0], None, *matrices[1:]]
    common = LeNetFeatureExtractor().fit(rows).std
    np.testing.assert_allclose(common, [math.sqrt(every.var(axis=0).mean())] * 32, rtol=1e-9)
    extractor = LeNetFeatureExtractor(num_frames=50).fit(rows, per_coefficient=True)
    np.testing.assert_allclose(extractor.mean, every.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(extractor.std[:31], every.std(axis=0)[:31], rtol=1e-9)
    assert extractor.std[31] == 1.0
    extractor.save_pretrained(tmp_path)
    loaded = LeNetFeatureExtractor.from_pretrained(tmp_path)
    assert (loaded.mean, loaded.std, loaded.num_frames) == (extractor.mean, extractor.std, 50)
    assert loaded.mfcc() == extractor.mfcc()


@pytest.mark.parametrize(
    ("waves", "rate", "message"),
    [
        (np.ones(8000), 8000, "8000 Hz and this extractor works at 16000 Hz"),
        (np.ones((2, 2, 16000)), RATE, r"Clip 0, of shape \(2, 16000\)"),
        ([np.ones(16000), np.array([])], RATE, r"Clip 1, of shape \(0,\)"),
        ([], RATE, "no mono waveform"),
        (np.array([0.0, np.nan] * 400), RATE, "finite"),
    ],
)
def test_sound_that_can_not_be_used_is_refused(extractor, waves, rate, message):
    with pytest.raises(AudioError, match=message):
        extractor(waves, sampling_rate=rate)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"x": [1]}, "no column 'mfcc'.*there are: x"),
        ({"mfcc": [np.ones((9, 32)), None]}, "Row 1 of this batch has no MFCC"),
        ({"mfcc": [np.ones((9, 20))]}, r"frames x 32 finite coefficients and has shape \(9, 20\)"),
        ({"mfcc": [np.full((9, 32), np.inf)]}, "finite"),
        ({"mfcc": [np.ones((0, 32))]}, r"shape \(0, 32\)"),
    ],
)
def test_columns_that_can_not_be_used_are_refused(extractor, batch, message):
    with pytest.raises(ColumnError, match=message):
        extractor.from_mfcc(batch)


def test_fit_and_statistics_that_can_not_be_used_are_refused():
    with pytest.raises(ColumnError, match="every row is null"):
        LeNetFeatureExtractor().fit([None])
    for statistics in ({"mean": [0.0] * 32}, {"mean": [0.0] * 20, "std": [1.0] * 20}):
        with pytest.raises(ValueError, match="32 numbers each"):
            LeNetFeatureExtractor(**statistics)


def test_inputs_hold_labels_and_features_alone_and_decode_nothing(extractor, tones):
    poisoned = tones.select(range(8)).add_column("audio", [{"bytes": b"no sound", "path": None}] * 8)
    poisoned = poisoned.cast_column("audio", datasets.Audio(decode=True))
    rows = extractor.inputs(poisoned)
    assert rows.column_names == ["input_features", "labels"] and rows["labels"][:].tolist() == tones["label"][:8]
    expected = extractor.from_mfcc({"mfcc": tones["mfcc"][:8]})["input_features"]
    np.testing.assert_array_equal(rows["input_features"][:].reshape(8, 99, 32).numpy(), expected)
    assert extractor.inputs(tones, label_column=None).column_names == ["input_features"]


def test_inputs_that_can_not_be_made_are_refused(extractor, tones):
    named = tones.select(range(4)).map(lambda row: {"word": "yes"})
    with pytest.raises(ColumnError, match="Labels are integers, and 'word'"):
        extractor.inputs(named, label_column="word")
    with pytest.raises(ColumnError, match="no column 'command'"):
        extractor.inputs(tones, label_column="command")
    gaps = tones.select([0, 1, 2]).remove_columns("mfcc").add_column("mfcc", [tones["mfcc"][0], None, None])
    with pytest.raises(ColumnError, match=r"No MFCC in 2 of 3 rows, the first is row 1"):
        extractor.inputs(gaps)
    with pytest.raises(DatasetError, match="one split"):
        extractor.inputs(datasets.DatasetDict({"train": tones}))


# in the Trainer


def arguments(folder, **fields) -> TrainingArguments:
    return TrainingArguments(
        str(folder),
        per_device_train_batch_size=32,
        learning_rate=5e-3,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        logging_steps=1,
        use_cpu=True,
        dataloader_pin_memory=False,
        seed=0,
        **fields,
    )


def accuracy(prediction) -> dict[str, float]:
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


@pytest.mark.parametrize("size", LENET_LAYERS)
def test_it_learns_tones_and_serves_them_after_a_reload(size, tones, tmp_path):
    train, test = tones.select(range(160)), tones.select(range(160, 240))
    extractor = LeNetFeatureExtractor().fit(train["mfcc"])
    names = dict(enumerate(tones.features["label"].names))
    torch.manual_seed(0)
    model = LeNetForAudioClassification(LeNetConfig(size=size, id2label=names))
    trainer = Trainer(
        model,
        arguments(tmp_path / "run", num_train_epochs=8),
        train_dataset=extractor.inputs(train),
        eval_dataset=extractor.inputs(test),
        processing_class=extractor,
        compute_metrics=accuracy,
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < 0.5 * losses[0]
    assert trainer.evaluate()["eval_accuracy"] > 0.9
    before = trainer.predict(extractor.inputs(test)).predictions

    trainer.save_model(str(tmp_path / "model"))
    loaded = AutoModelForAudioClassification.from_pretrained(tmp_path / "model")
    assert isinstance(loaded, LeNetForAudioClassification)
    after = Trainer(loaded, arguments(tmp_path / "again")).predict(extractor.inputs(test)).predictions
    np.testing.assert_array_equal(before, after)
    for auto in (AutoFeatureExtractor, AutoProcessor):
        served = auto.from_pretrained(tmp_path / "model")
        assert isinstance(served, LeNetFeatureExtractor) and served.mean == extractor.mean

    listen = pipeline("audio-classification", model=str(tmp_path / "model"), device="cpu")
    rng = np.random.default_rng(3)
    heard = [listen(tone(frequency, rng))[0]["label"] for frequency in TONES]
    assert heard == list(names.values())


def test_rows_prepared_by_set_transform_train_too(tones, extractor, tmp_path):
    def on_the_fly(batch):
        return {**extractor.from_mfcc(batch), "labels": batch["label"]}

    args = arguments(tmp_path, max_steps=2, remove_unused_columns=False)
    trainer = Trainer(lenet(num_labels=4), args, train_dataset=tones.with_transform(on_the_fly))
    assert trainer.train().global_step == 2


@pytest.mark.slow
def test_it_learns_real_words_of_unknown_speakers(speech_commands, tmp_path):
    """Nine words, 220 clips each (a guess is right in 11 %), tested on speakers that were not trained on."""
    extractor = LeNetFeatureExtractor()
    rows = with_columns(speech_commands, extractor.mfcc()).class_encode_column("label")
    speakers = np.array(rows["speaker"])
    kept_out = np.isin(speakers, np.unique(speakers)[::4])
    train, test = rows.select(np.flatnonzero(~kept_out)), rows.select(np.flatnonzero(kept_out))
    extractor.fit(train["mfcc"])
    torch.manual_seed(0)
    trainer = Trainer(
        LeNetForAudioClassification(LeNetConfig(size="large", num_labels=9)),
        arguments(tmp_path, num_train_epochs=6),
        train_dataset=extractor.inputs(train),
        compute_metrics=accuracy,
    )
    trainer.train()
    assert trainer.evaluate(extractor.inputs(test))["eval_accuracy"] > 0.45
