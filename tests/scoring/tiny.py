"""Real models of a few thousand weights, seeded, and clips for them: what the tests of `score` and its lab process share."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

WORDS = ("yes", "no", "up", "down")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ'"


def sound(seconds: float, seed: int, rate: int = 16000) -> np.ndarray:
    """Return something between a voice and a siren with noise, float32."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * rate)) / rate
    pitch = 2 * np.pi * np.cumsum(rng.uniform(90, 240) * (1 + 0.1 * np.sin(5 * t))) / rate
    wave = sum(rng.uniform(0, 1) / k * np.sin(k * pitch) for k in range(1, 8)) * rng.uniform(0.05, 0.3)
    return (wave * np.clip(np.sin(np.pi * t * rng.uniform(1, 4)), 0.1, None) + 0.01 * rng.normal(size=len(t))).astype(
        "f4"
    )


def stored(samples: np.ndarray, rate: int = 16000, kind: str = "FLAC", name: str | None = None) -> dict[str, Any]:
    """Return samples as datasets stores a clip."""
    import soundfile as sf

    buffer = io.BytesIO()
    sf.write(buffer, samples, rate, format=kind, subtype="FLOAT" if kind == "WAV" else None)
    return {"bytes": buffer.getvalue(), "path": name or f"clip_{len(samples)}.{kind.lower()}"}


def mixed(count: int, longest: float = 3.0, seed: int = 0) -> list[dict[str, Any]]:
    """Return clips of 0.2 s to `longest`, 8 and 16 kHz, WAV and FLAC, each of its own length."""
    lengths = np.random.default_rng(seed).permutation(np.linspace(0.2, longest, count))
    made = []
    for i, seconds in enumerate(lengths):
        rate = (16000, 8000, 16000)[i % 3]
        made.append(stored(sound(float(seconds), seed + i, rate), rate, ("FLAC", "WAV")[i % 2], f"{seed}_{i}.x"))
    return made


def table(clips: list[Any], **columns: Any):
    """Return a Dataset with an Audio column, made without encoding (which would need torchcodec)."""
    import pyarrow as pa
    from datasets import Audio, Dataset

    audio = pa.array(clips, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    return Dataset(pa.table({"audio": audio, **columns})).cast_column("audio", Audio(decode=False))


def naming(names: tuple[str, ...]) -> dict[str, Any]:
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}


def wave_config(kind: str, **settings: Any):
    """Return the configuration of a small Wav2Vec2, HuBERT or WavLM: 100 frames a second."""
    import transformers

    small = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
        "conv_dim": (16, 16, 24), "conv_kernel": (10, 8, 4), "conv_stride": (8, 5, 4), "num_feat_extract_layers": 3,
        "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 24,
        "initializer_range": 0.3, "mask_time_prob": 0.0,
    }  # fmt: skip
    return getattr(transformers, kind + "Config")(**{**small, **settings})


def wave_extractor(**settings: Any):
    from transformers import Wav2Vec2FeatureExtractor

    return Wav2Vec2FeatureExtractor(**{"do_normalize": True, "return_attention_mask": True, **settings})


def wave_model(kind: str, head: str = "Model", seed: int = 0, **settings: Any):
    """Return a Wav2Vec2, HuBERT or WavLM with random weights, in evaluation mode."""
    import torch
    import transformers

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return getattr(transformers, kind + head)(wave_config(kind, **settings)).eval()


def ctc_tokenizer(folder: Path):
    """Return a tokenizer of capital letters, read from a vocabulary file."""
    from transformers import Wav2Vec2CTCTokenizer

    vocabulary = {token: i for i, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    return Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))


def ctc(folder: Path):
    """Return (model, processor) of a small Wav2Vec2 with a CTC head."""
    from transformers import Wav2Vec2Processor

    tokenizer = ctc_tokenizer(folder)
    model = wave_model(
        "Wav2Vec2", "ForCTC", vocab_size=len(tokenizer), pad_token_id=0, ctc_loss_reduction="sum", **GROUP
    )
    return model, Wav2Vec2Processor(wave_extractor(), tokenizer)


GROUP = {"feat_extract_norm": "group", "do_stable_layer_norm": False}
LAYER = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}


def word_tokenizer():
    """Return a tokenizer of a few words that puts a start and an end around a text, as Whisper's does."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", "<s>", "</s>", "<unk>", *WORDS, *(f"w{i}" for i in range(12))]
    inner = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def whisper(head: str = "ForConditionalGeneration", seconds: int = 3, seed: int = 0, **settings: Any):
    """Return (model, processor) of a small Whisper that hears `seconds`."""
    import torch
    import transformers

    tokenizer = word_tokenizer()
    config = transformers.WhisperConfig(
        vocab_size=len(tokenizer), d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=48, decoder_ffn_dim=48, num_mel_bins=20,
        max_source_positions=50 * seconds, max_target_positions=64, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1, init_std=0.3, suppress_tokens=None, begin_suppress_tokens=None,
        classifier_proj_size=16, **settings,
    )  # fmt: skip
    extractor = transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=seconds)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, "Whisper" + head)(config).eval()
    return model, SimpleNamespace(feature_extractor=extractor, tokenizer=tokenizer)


def ast(head: str = "Model", seed: int = 0):
    """Return (model, extractor) of a small AST that hears 2 s."""
    import torch
    import transformers

    config = transformers.ASTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, max_length=200,
        num_mel_bins=32, patch_size=16, frequency_stride=10, time_stride=10, initializer_range=0.3, **naming(WORDS),
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, "AST" + head)(config).eval()
    return model, transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=200)


def lenet(seed: int = 0, names: tuple[str, ...] = WORDS):
    """Return (model, extractor) of the smallest LeNet, which hears 1 s."""
    import torch

    from hf_select.models import LeNetConfig, LeNetFeatureExtractor, LeNetForAudioClassification

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LeNetForAudioClassification(LeNetConfig(size="tiny", **naming(names))).eval(), LeNetFeatureExtractor()
