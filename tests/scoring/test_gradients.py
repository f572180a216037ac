"""Gradient scores against passes through each clip alone, for every kind of model, batch and number of labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import hf_select as hs
from hf_select.errors import ArgumentError

from .alone import MASK, apart, hear, waves
from .tiny import GROUP, LAYER, WORDS, ast, ctc, lenet, wave_extractor, wave_model, whisper

pytestmark = pytest.mark.filterwarnings(MASK)
HEAD = "ForSequenceClassification"
CLASSIFIERS = {
    "wav2vec2-group": lambda: (wave_model("Wav2Vec2", HEAD, num_labels=4, **GROUP), wave_extractor()),
    "wav2vec2-layer": lambda: (wave_model("Wav2Vec2", HEAD, num_labels=4, **LAYER), wave_extractor()),
    "hubert-group": lambda: (wave_model("Hubert", HEAD, num_labels=4, **GROUP), wave_extractor()),
    "wavlm-group": lambda: (wave_model("WavLM", HEAD, num_labels=4, **GROUP), wave_extractor()),
    "whisper": lambda: whisper("ForAudioClassification", num_labels=4),
    "ast": lambda: ast("ForAudioClassification"),
    "lenet": lenet,
}


def named(model):
    model.config.id2label, model.config.label2id = dict(enumerate(WORDS)), {name: i for i, name in enumerate(WORDS)}
    return model


def squares(parameters):
    return sum(float(p.grad.double().square().sum()) for p in parameters if p.grad is not None)


def alone(ds, model, extractor):
    """Each clip alone: (norm over all parameters, over the last linear layer, length of the error vector)."""
    head = [m for m in model.modules() if isinstance(m, torch.nn.Linear)][-1]
    norms = []
    for clip, label in zip(ds.data["audio"].to_pylist(), ds["label"], strict=True):
        model.zero_grad()
        ears = getattr(extractor, "feature_extractor", extractor)
        logits = model(waves(ears, hear(clip)).to(model.dtype)).logits
        torch.nn.functional.cross_entropy(logits, torch.tensor([WORDS.index(label)])).backward()
        error = logits.detach().softmax(1)[0].numpy() - np.eye(4)[WORDS.index(label)]
        norms.append((squares(model.parameters()) ** 0.5, squares(head.parameters()) ** 0.5, np.linalg.norm(error)))
    model.zero_grad()
    return np.transpose(norms)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_gradients_of_classifiers_are_those_of_each_clip_alone(name, corpus, caplog):
    model, extractor = CLASSIFIERS[name]()
    model = named(model).double()
    wanted = alone(corpus, model, extractor)
    for batch in (1, 8, 32):
        found = hs.score(
            corpus,
            model,
            extractor,
            columns=["grad_norm", "grad_norm_head", "el2n", "loss"],
            batch_size=batch,
            overwrite=True,
        )
        for column, values in zip(("grad_norm", "grad_norm_head", "el2n"), wanted, strict=True):
            assert apart(found[column], values) < 1e-6, (batch, column)
    assert not [record for record in caplog.records if "sample by sample" in record.message]
    plain = hs.score(corpus, model, extractor, columns=["loss"])  # of a pass that keeps no gradients
    assert apart(found["loss"], plain["loss"]) < 1e-6


def test_single_precision_is_near(made):
    model, extractor = CLASSIFIERS["wav2vec2-group"]()
    wanted = alone(made, named(model).double(), extractor)[0]
    assert apart(hs.score(made, model.float(), extractor, columns="grad_norm")["grad_norm"], wanted) < 1e-4


def test_gradients_of_ctc(made, tmp_path):
    model, processor = ctc(tmp_path)
    model = model.double()
    found = hs.score(made, model, processor, columns=["grad_norm", "loss"], batch_size=4)
    for row, (clip, text) in enumerate(zip(made.data["audio"].to_pylist(), made["text"], strict=True)):
        model.zero_grad()
        tokens = torch.tensor(processor.tokenizer(text).input_ids)[None]
        logs = model(waves(processor.feature_extractor, hear(clip)).double()).logits.log_softmax(2).transpose(0, 1)
        lengths = torch.tensor([len(logs)]), torch.tensor([tokens.shape[1]])
        loss = torch.nn.functional.ctc_loss(logs, tokens, *lengths, reduction="sum") / tokens.shape[1]
        loss.backward()
        if torch.isfinite(loss):
            assert found["loss"][row] == pytest.approx(float(loss.detach()), rel=1e-5)
            assert found["grad_norm"][row] == pytest.approx(squares(model.parameters()) ** 0.5, rel=1e-5)
        else:
            assert found["grad_norm"][row] is None
    with pytest.raises(ArgumentError, match="'el2n' comes from a model of kind classifier"):
        hs.score(made, model, processor, columns="el2n")


def test_rows_without_a_label_have_no_gradient(short):
    labels = [None if i in (0, 4) else WORDS[i % 4] for i in range(10)]
    some = short.remove_columns("label").add_column("label", labels)
    model, extractor = lenet()
    found = hs.score(some, model, extractor, columns=["grad_norm", "grad_norm_head", "el2n"])
    for name in ("grad_norm", "grad_norm_head", "el2n"):
        assert [i for i, value in enumerate(found[name]) if value is None] == [0, 4]


def test_frozen_parameters_are_another_score(short):
    model, extractor = lenet()
    whole = hs.score(short, model, extractor, columns=["grad_norm", "grad_norm_head"])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("classifier"))
    head = hs.score(short, model, extractor, columns=["grad_norm", "grad_norm_head"])  # not from the cache of the first
    assert apart(head["grad_norm"], whole["grad_norm_head"]) < 1e-5
    assert (np.array(head["grad_norm"]) < np.array(whole["grad_norm"])).all()
    assert not model.convolutions[0].weight.requires_grad
    with pytest.raises(ArgumentError, match="No parameter of the model is trainable"):
        hs.score(short, model.requires_grad_(False), extractor, columns="grad_norm")


def test_half_precision_and_heads_that_are_not_there(short):
    model, extractor = lenet()
    with pytest.raises(ArgumentError, match=r"need float32 or float64.*bfloat16"):
        hs.score(short, model, extractor, columns="grad_norm", dtype="bfloat16")
    trained = model.training
    with pytest.raises(ArgumentError, match="comes from a model of kind classifier or ctc"):
        hs.score(short, *whisper(), columns="grad_norm")
    assert model.training == trained
    rows = hs.select_by_score(hs.score(short, model, extractor, columns="grad_norm"), budget=3, column="grad_norm")
    assert len(rows) == 3
