"""Every column of every kind of model, against a loop that runs one clip at a time through transformers alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import hf_select as hs
from hf_select.errors import ArgumentError

from .alone import MASK, RATE, check_classifier, one_by_one, waves
from .tiny import GROUP, LAYER, WORDS, ast, naming, wave_extractor, wave_model, whisper

WAVES = {
    "wav2vec2-group": ("Wav2Vec2", GROUP),
    "wav2vec2-layer": ("Wav2Vec2", LAYER),
    "wav2vec2-adapter": ("Wav2Vec2", {"add_adapter": True, "num_adapter_layers": 2, "output_hidden_size": 32, **GROUP}),
    "hubert-group": ("Hubert", GROUP),
    "hubert-layer": ("Hubert", LAYER),
    "wavlm-group": ("WavLM", GROUP),
    "wavlm-layer": ("WavLM", LAYER),
}


@pytest.mark.filterwarnings(MASK)
@pytest.mark.parametrize("name", WAVES)
def test_embeddings_of_waveform_encoders_are_those_of_each_clip_alone(name, corpus, same):
    kind, settings = WAVES[name]
    model, extractor = wave_model(kind, **settings), wave_extractor()
    wanted = one_by_one(corpus, lambda clip: model(waves(extractor, clip)).last_hidden_state[0].mean(0))
    same(hs.score(corpus, model, extractor, columns="embedding")["embedding"], wanted)


def test_an_extractor_that_asks_for_no_mask_gives_the_same(made, same):
    model, extractor = wave_model("Wav2Vec2", **GROUP), wave_extractor(return_attention_mask=False, do_normalize=False)
    wanted = one_by_one(made, lambda clip: model(waves(extractor, clip)).last_hidden_state[0].mean(0))
    same(hs.score(made, model, extractor, columns="embedding")["embedding"], wanted)


@pytest.mark.parametrize("layer", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("name", ["wav2vec2-group", "wav2vec2-adapter"])
def test_layer_takes_that_hidden_state(name, layer, made, same):
    model, extractor = wave_model(WAVES[name][0], **WAVES[name][1]), wave_extractor()
    wanted = one_by_one(
        made, lambda clip: model(waves(extractor, clip), output_hidden_states=True).hidden_states[layer][0].mean(0)
    )
    same(hs.score(made, model, extractor, columns=["embedding"], layer=layer)["embedding"], wanted)


@pytest.mark.parametrize("layer", [3, -4, 99])
def test_a_layer_that_is_not_there_is_named_with_those_that_are(layer, short):
    with pytest.raises(ArgumentError, match=rf"layer={layer}.*hidden states 0 to 2 \(or -3 to -1\)"):
        hs.score(short, wave_model("Wav2Vec2"), wave_extractor(), columns="embedding", layer=layer)


@pytest.mark.parametrize("name", ["wav2vec2-group", "hubert-layer", "wav2vec2-adapter"])
def test_pool_none_keeps_the_real_frames(name, made, same):
    model, extractor = wave_model(WAVES[name][0], **WAVES[name][1]), wave_extractor()
    wanted = one_by_one(made, lambda clip: model(waves(extractor, clip)).last_hidden_state[0])
    scored = hs.score(made, model, extractor, columns="embedding", pool="none")
    assert [len(rows) for rows in scored["embedding"]] == [len(rows) for rows in wanted]
    assert scored.features["embedding"].feature.length == 32
    same(scored["embedding"], wanted)


@pytest.mark.parametrize("name", ["wav2vec2-group", "wav2vec2-layer"])
def test_grid_scores_the_clip_that_silence_fills_up(name, made, same):
    model, extractor = wave_model(WAVES[name][0], **WAVES[name][1]), wave_extractor()

    def frames(clip: np.ndarray) -> torch.Tensor:
        filled = np.concatenate([clip, np.zeros(-len(clip) % 8000, "f4")])
        return model(waves(extractor, filled)).last_hidden_state[0]

    def real(clip: np.ndarray) -> int:
        return int(model._get_feat_extract_output_lengths(torch.tensor(len(clip))))

    wanted = one_by_one(made, lambda clip: frames(clip)[: real(clip)].mean(0))
    same(hs.score(made, model, extractor, columns="embedding", grid=0.5)["embedding"], wanted)
    whole = hs.score(made, model, extractor, columns="embedding", grid=0.5, pool="none", prefix="all_")
    same(whole["all_embedding"], one_by_one(made, frames))


def test_a_grid_of_one_second_gives_short_clips_one_shape(short):
    scored = hs.score(short, wave_model("Wav2Vec2"), wave_extractor(), columns="embedding", grid=1.0, pool="none")
    assert {np.shape(rows) for rows in scored["embedding"]} == {(99, 32)}


@pytest.mark.parametrize("dtype", ["float64", None])
def test_float64_leaves_no_rounding_that_shows(dtype, made, tmp_path):
    model, extractor = wave_model("Wav2Vec2", "ForSequenceClassification", **GROUP, **naming(WORDS)), wave_extractor()
    columns = ["embedding", "probs", "loss", "entropy"]
    found = [
        hs.score(made, model, extractor, columns=columns, dtype=dtype, batch_size=size, out=tmp_path / str(size))
        for size in (1, 8, 32)  # each in a folder of its own: a batch size is no part of the cache's key
    ]
    tables = [scored.data.table.select(columns) for scored in found]
    if dtype == "float64":
        assert tables[0].equals(tables[1]) and tables[0].equals(tables[2])
        wide = wave_model("Wav2Vec2", "ForSequenceClassification", **GROUP, **naming(WORDS)).double()
        wanted = one_by_one(
            made, lambda clip: wide.wav2vec2(waves(extractor, clip).double()).last_hidden_state[0].mean(0)
        )
        assert [list(row.float().numpy()) for row in wanted] == found[0]["embedding"][:]
    else:  # so that the test above can fail
        assert not tables[0].equals(tables[1])
    assert model.dtype == torch.float32


def seconds_of_frames(clip: np.ndarray, frames: int, longest: int) -> int:
    return min(frames, math.ceil(frames * len(clip) / longest))


@pytest.mark.parametrize("head", ["Model", "ForConditionalGeneration", "ForAudioClassification"])
def test_whisper_embeddings_are_means_over_the_frames_of_the_clip(head, corpus, same):
    model, processor = whisper(head, **(naming(WORDS) if head == "ForAudioClassification" else {}))
    extractor, encoder = processor.feature_extractor, model.get_encoder()

    def embedding(clip: np.ndarray) -> Any:
        hidden = encoder(waves(extractor, clip)).last_hidden_state[0]
        assert len(hidden) == 150
        return hidden[: seconds_of_frames(clip, 150, 48000)].mean(0)

    if head == "ForAudioClassification":
        check_classifier(corpus, model, extractor, embedding, same)
    else:
        same(hs.score(corpus, model, processor, columns="embedding")["embedding"], one_by_one(corpus, embedding))


@pytest.mark.parametrize("head", ["Model", "ForAudioClassification"])
def test_ast_embeddings_are_means_over_the_patches_that_begin_inside_the_clip(head, corpus, same):
    model, extractor = ast(head)
    body = model.base_model

    def embedding(clip: np.ndarray) -> Any:
        hidden = body(waves(extractor, clip)).last_hidden_state[0].numpy()
        # 32 mel bands x 200 frames in patches of 16 x 16, every 10: 2 down, 19 across, row by row behind two tokens
        assert len(hidden) == 2 + 2 * 19
        kept = [
            hidden[2 + down * 19 + across]
            for down in range(2)
            for across in range(19)
            if across * 10 / 100 < len(clip) / RATE
        ]
        return np.mean(kept, axis=0)

    if head == "ForAudioClassification":
        check_classifier(corpus, model, extractor, embedding, same)
    else:
        same(hs.score(corpus, model, extractor, columns="embedding")["embedding"], one_by_one(corpus, embedding))
