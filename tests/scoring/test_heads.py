"""Every column of classifiers and of models that write, against a loop through transformers alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

import hf_select as hs

from .alone import CLASSIFIED, MASK, check_classifier, one_by_one, waves
from .tiny import GROUP, WORDS, ctc, lenet, mixed, naming, table, wave_extractor, wave_model, whisper


@pytest.mark.filterwarnings(MASK)
@pytest.mark.parametrize("kind", ["Wav2Vec2", "Hubert", "WavLM"])
@pytest.mark.parametrize("weighted", [False, True])
def test_classifiers_over_waveforms(kind, weighted, corpus, same):
    settings = {**GROUP, **naming(WORDS), "use_weighted_layer_sum": weighted}
    model, extractor = wave_model(kind, "ForSequenceClassification", **settings), wave_extractor()
    body = model.base_model
    check_classifier(
        corpus, model, extractor, lambda clip: body(waves(extractor, clip)).last_hidden_state[0].mean(0), same
    )


def test_classes_that_a_model_rules_out(short, same):
    """Minus infinity as a logit is a probability of 0, not a failure."""
    model, extractor = lenet()

    def rule_out(_module, _inputs, output):
        output.logits[:, 2] = -math.inf
        return output

    handle = model.register_forward_hook(rule_out)
    scored = hs.score(short, model, extractor, columns=CLASSIFIED[:2] + ["entropy", "margin"])
    handle.remove()
    logits = one_by_one(short, lambda clip: model(waves(extractor, clip)).logits[0, [0, 1, 3]].double().numpy())
    probs = [scipy.special.softmax(row) for row in logits]
    same(scored["entropy"], [scipy.stats.entropy(row) for row in probs])
    same(scored["probs"], [np.insert(row, 2, 0.0) for row in probs])
    assert set(scored["audio_status"]) == {"ok"} and 2 not in scored["predicted"][:]


def test_a_lenet(corpus, same):
    model, extractor = lenet()
    check_classifier(
        corpus,
        model,
        extractor,
        lambda clip: model(waves(extractor, clip), output_hidden_states=True).hidden_states[-1].flatten(),
        same,
    )


def test_ctc_models_write_and_lose_as_transformers_says(corpus, tmp_path, same):
    import jiwer

    model, processor = ctc(tmp_path)
    extractor, tokenizer = processor.feature_extractor, processor.tokenizer
    texts = iter(corpus["text"])

    def alone(clip: np.ndarray) -> tuple[str, float, Any]:
        tokens = torch.tensor([tokenizer(next(texts)).input_ids])
        output = model(waves(extractor, clip), labels=tokens, output_hidden_states=True)
        written = tokenizer.decode(output.logits[0].argmax(-1))
        return written, float(output.loss) / tokens.shape[1], output.hidden_states[-1][0].mean(0)

    wanted = one_by_one(corpus, alone)
    scored = hs.score(corpus, model, processor, columns=["transcript", "loss", "wer", "cer", "embedding"])
    assert scored["transcript"][:] == [written for written, _, _ in wanted]
    assert len(set(scored["transcript"])) > 3
    assert scored["wer"][:] == [jiwer.wer(t, w[0]) for t, w in zip(corpus["text"], wanted, strict=True)]
    assert scored["cer"][:] == [jiwer.cer(t, w[0]) for t, w in zip(corpus["text"], wanted, strict=True)]
    same(scored["loss"], [loss for _, loss, _ in wanted])
    same(scored["embedding"], [hidden for _, _, hidden in wanted])


def test_a_text_too_long_for_its_clip_has_no_ctc_loss(tmp_path):
    model, processor = ctc(tmp_path)
    ds = table(mixed(3, longest=0.4), text=["YES", "NO" * 60, None])
    scored = hs.score(ds, model, processor, columns=["loss", "wer", "transcript"])
    assert [loss is None for loss in scored["loss"]] == [False, True, True]
    assert [errors is None for errors in scored["wer"]] == [False, False, True]
    assert None not in scored["transcript"][:]


def test_seq2seq_models_write_and_lose_as_transformers_says(corpus, same):
    import jiwer

    model, processor = whisper()
    extractor, tokenizer = processor.feature_extractor, processor.tokenizer
    texts = iter(corpus["words"])

    def alone(clip: np.ndarray) -> tuple[str, float]:
        features = waves(extractor, clip)
        tokens = tokenizer(next(texts)).input_ids
        assert tokens[0] == model.config.decoder_start_token_id  # which the model puts there itself
        loss = model(features, labels=torch.tensor([tokens[1:]])).loss
        written = model.generate(features, do_sample=False, max_new_tokens=9)
        return tokenizer.decode(written[0], skip_special_tokens=True), float(loss)

    wanted = one_by_one(corpus, alone)
    scored = hs.score(
        corpus,
        model,
        processor,
        columns=["loss", "transcript", "wer", "cer"],
        text="words",
        generate={"max_new_tokens": 9},
    )
    assert scored["transcript"][:] == [written for written, _ in wanted]
    assert len(set(scored["transcript"])) > 3
    assert scored["wer"][:] == [jiwer.wer(t, w[0]) for t, w in zip(corpus["words"], wanted, strict=True)]
    assert scored["cer"][:] == [jiwer.cer(t, w[0]) for t, w in zip(corpus["words"], wanted, strict=True)]
    same(scored["loss"], [loss for _, loss in wanted])


def test_normalize_goes_over_text_and_transcript(short, tmp_path):
    model, processor = ctc(tmp_path)
    every = hs.score(short, model, processor, columns=["wer"], normalize=lambda text: "same")
    assert every["wer"][:] == [0.0] * len(short)


def test_prefix_goes_before_each_column_but_the_status(short):
    model, extractor = lenet()
    plain = hs.score(short, model, extractor, columns=CLASSIFIED)
    named = hs.score(short, model, extractor, columns=CLASSIFIED, prefix="tiny_")
    assert named.column_names == [*short.column_names, *("tiny_" + name for name in CLASSIFIED), "audio_status"]
    assert named.features["tiny_predicted"] == plain.features["predicted"]
    assert all(named["tiny_" + name][:] == plain[name][:] for name in CLASSIFIED)
