"""Models by name: what comes with a checkpoint is run only when it was asked for, and what lacks in it is said."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

import hf_select as hs
from hf_select.errors import ArgumentError

from .tiny import GROUP, WORDS, ast, ctc, lenet, naming, wave_extractor, wave_model, whisper

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CODE = """
import os
from pathlib import Path
import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

Path({sentinel!r}).touch()


class OwnConfig(PreTrainedConfig):
    model_type = "own"


class OwnModel(PreTrainedModel):
    config_class = OwnConfig
    main_input_name = "input_values"

    def __init__(self, config):
        super().__init__(config)
        self.conv = torch.nn.Conv1d(1, 8, 320, 160)
        self.post_init()

    def forward(self, input_values, attention_mask=None):
        return BaseModelOutput(last_hidden_state=self.conv(input_values[:, None]).transpose(1, 2))
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Return (folder of a checkpoint that brings code, the file that this code writes)."""
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder, sentinel = tmp_path / "own", tmp_path / "code_was_run"
    folder.mkdir()
    (folder / "own.py").write_text(CODE.format(sentinel=str(sentinel)))
    places = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}
    (folder / "config.json").write_text(
        json.dumps({"model_type": "own", "architectures": ["OwnModel"], "auto_map": places})
    )
    wave_extractor().save_pretrained(folder)
    from safetensors.torch import save_file

    save_file(
        {"conv.weight": torch.ones(8, 1, 320), "conv.bias": torch.zeros(8)},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    return folder, sentinel


@pytest.mark.parametrize("revision", [None, COMMIT])
def test_code_of_a_checkpoint_is_not_run_without_the_flag(revision, own, short):
    folder, sentinel = own
    with pytest.raises(ArgumentError, match=r"brings code of its own.*trust_remote_code=True together with revision="):
        hs.score(short, str(folder), columns="embedding", revision=revision)
    assert not sentinel.exists()


@pytest.mark.parametrize("revision", [None, "main", COMMIT[:39], COMMIT + "0", COMMIT.upper(), "g" * 40, COMMIT + "\n"])
def test_nor_without_a_pinned_revision(revision, own, short):
    folder, sentinel = own
    with pytest.raises(ArgumentError, match="revision= with the 40 hex digits"):
        hs.score(short, str(folder), columns="embedding", revision=revision, trust_remote_code=True)
    assert not sentinel.exists()


def test_it_is_run_with_both_and_that_is_written_down(own, short, tmp_path):
    folder, sentinel = own
    found = hs.score(
        short, str(folder), columns="embedding", revision=COMMIT, trust_remote_code=True, out=tmp_path / "out"
    )
    assert sentinel.exists() and len(found["embedding"][0]) == 8
    record = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert record["model"]["revision"] == COMMIT


@pytest.mark.parametrize("file", ["preprocessor_config.json", "tokenizer_config.json"])
def test_a_processor_brings_no_code_either(file, own, short, tmp_path):
    _, sentinel = own
    folder = tmp_path / "model"
    model, processor = ctc(tmp_path)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "own.py").write_text(CODE.format(sentinel=str(sentinel)))
    for path in (folder / file, folder / "processor_config.json"):
        settings = json.loads(path.read_text()) if path.exists() else {}
        settings["auto_map"] = {
            "AutoFeatureExtractor": "own.OwnConfig", "AutoProcessor": "own.OwnConfig", "AutoTokenizer": ["own.OwnConfig", None],
        }  # fmt: skip
        settings |= {"feature_extractor_type": "Own", "processor_class": "Own", "tokenizer_class": "Own"}
        path.write_text(json.dumps(settings))
    with pytest.raises((ArgumentError, OSError, ValueError)):
        hs.score(short, str(folder), columns="transcript")
    assert not sentinel.exists()


def test_a_processors_name_is_pinned_too(short, monkeypatch):
    import transformers

    asked = []

    def from_pretrained(name, **options):
        asked.append((name, options))
        return wave_extractor()

    monkeypatch.setattr(transformers.AutoFeatureExtractor, "from_pretrained", from_pretrained)
    model = wave_model("Wav2Vec2", **GROUP)
    hs.score(short, model, "some/one", columns="embedding", revision=COMMIT, trust_remote_code=True)
    hs.score(short, model, "some/one", columns="embedding", prefix="x_")
    assert asked == [
        ("some/one", {"revision": COMMIT, "trust_remote_code": True}),
        ("some/one", {"revision": None, "trust_remote_code": False}),
    ]


def save(folder: Path, model, *parts) -> str:
    model.save_pretrained(folder)
    for part in parts:
        part.save_pretrained(folder)
    return str(folder)


def test_a_head_without_weights_is_refused(short, tmp_path):
    folder = save(tmp_path / "base", wave_model("Wav2Vec2", **GROUP), wave_extractor())
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    config |= {"architectures": ["Wav2Vec2ForSequenceClassification"], "id2label": dict(enumerate(WORDS))}
    (tmp_path / "base" / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        ArgumentError, match=r"has no weights for 4 parts of Wav2Vec2ForSequenceClassification, such as 'classifier"
    ):
        hs.score(short, folder, columns="loss")


@pytest.mark.parametrize("kind", ["encoder", "classifier", "lenet", "ast", "whisper", "ctc", "seq2seq"])
def test_a_name_gives_what_the_module_gives(kind, short, tmp_path):
    columns, options = ["embedding"], {}
    if kind == "encoder":
        model, processor = wave_model("Wav2Vec2", **GROUP), wave_extractor()
    elif kind == "classifier":
        model, processor = wave_model("Hubert", "ForSequenceClassification", **naming(WORDS)), wave_extractor()
        columns = ["loss", "embedding"]
    elif kind == "lenet":
        model, processor = lenet()
        columns = ["loss", "predicted", "embedding"]
    elif kind == "ast":
        model, processor = ast("ForAudioClassification")
        columns = ["loss", "embedding"]
    elif kind == "whisper":
        model, both = whisper("Model")
        processor = both.feature_extractor
    elif kind == "ctc":
        model, processor = ctc(tmp_path)
        columns = ["loss", "transcript"]
    else:
        model, both = whisper()
        processor, columns = both, ["loss", "transcript"]
        options = {"text": "words", "generate": {"max_new_tokens": 5}}
    parts = [processor.feature_extractor, processor.tokenizer] if kind == "seq2seq" else [processor]
    folder = save(tmp_path / "model", model, *parts)
    named = hs.score(short, folder, columns=columns, out=tmp_path / "named", **options)
    taken = hs.score(short, model, processor, columns=columns, out=tmp_path / "taken", **options)
    for name in columns:
        assert named[name][:] == taken[name][:]
    record = json.loads((tmp_path / "named" / "scores.json").read_text())
    assert record["model"]["name"] == folder
    apart = hs.score(short, model, folder, columns=columns, **options)  # a processor by name
    assert apart[columns[0]][:] == named[columns[0]][:]


def test_a_checkpoint_scores_in_the_format_asked_for(short, tmp_path):
    folder = save(tmp_path / "model", wave_model("Wav2Vec2", **GROUP), wave_extractor())
    options = {"columns": "embedding", "dtype": "float64"}
    wide = hs.score(short, folder, **options)["embedding"][:]
    assert wide == hs.score(short, wave_model("Wav2Vec2", **GROUP), wave_extractor(), **options)["embedding"][:]
    assert wide != hs.score(short, folder, columns="embedding")["embedding"][:]
    narrow = hs.score(short, folder, columns="embedding", dtype="bfloat16")["embedding"]
    assert abs(torch.tensor(narrow[:]) - torch.tensor(wide)).max() < 0.2


def test_a_text_model_is_no_speech_model(short, tmp_path, caplog):
    from transformers import BertConfig, BertModel

    small = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    folder = save(tmp_path / "bert", BertModel(small))
    with (
        caplog.at_level(logging.CRITICAL),
        pytest.raises(ArgumentError, match="can't be loaded as AutoFeatureExtractor"),
    ):
        hs.score(short, folder, columns="embedding")
