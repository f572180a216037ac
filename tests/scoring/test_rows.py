"""A row's scores depend on that row alone, and nothing of the user's is changed on the way."""

from __future__ import annotations

import copy
import logging

import numpy as np
import pytest
import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

import hf_select as hs

from .conftest import labelled
from .tiny import (
    GROUP,
    LAYER,
    WORDS,
    ast,
    ctc,
    lenet,
    mixed,
    naming,
    sound,
    stored,
    table,
    wave_extractor,
    wave_model,
    whisper,
)

RATE = 16000
TOLERANCE = 1e-5


class LeakyConfig(PreTrainedConfig):
    model_type = "leaky"


class Leaky(PreTrainedModel):
    """A model that normalises over all frames it is given, whatever a mask says."""

    config_class = LeakyConfig
    main_input_name = "input_values"

    def __init__(self, config: LeakyConfig) -> None:
        super().__init__(config)
        self.conv = torch.nn.Conv1d(1, 8, 320, 160)
        self.post_init()

    def forward(self, input_values, attention_mask=None):
        hidden = self.conv(input_values[:, None]).transpose(1, 2)
        return BaseModelOutput(last_hidden_state=hidden - hidden.mean(1, keepdim=True) + hidden.std(1, keepdim=True))


def leaky():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Leaky(LeakyConfig()).eval()


def make(name: str, folder):
    """Return (model, processor, columns) of a kind."""
    head = naming(WORDS)
    if name in ("wav2vec2", "hubert", "wavlm"):
        kind = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}[name]
        settings = LAYER if name == "hubert" else GROUP
        model = wave_model(kind, "ForSequenceClassification", **settings, **head)
        return model, wave_extractor(), ["embedding", "loss", "entropy", "probs"]
    if name == "ctc":
        return *ctc(folder), ["embedding", "loss", "transcript"]
    if name == "seq2seq":
        return *whisper(), ["embedding", "loss", "transcript"]
    if name == "ast":
        return *ast("ForAudioClassification"), ["embedding", "loss", "entropy", "probs"]
    if name == "lenet":
        return *lenet(), ["embedding", "loss", "entropy", "probs"]
    return leaky(), wave_extractor(), ["embedding"]


def scored(ds, kind, folder, **options):
    """Return the scores in a folder of their own: neither order nor batch size is a part of the cache's key."""
    model, processor, columns = make(kind, folder)
    if kind == "seq2seq":
        options |= {"text": "words", "generate": {"max_new_tokens": 6}}
    number = len(list(folder.iterdir()))
    return hs.score(ds, model, processor, columns=columns, out=folder / f"out{number}", **options)


def assert_same(found, wanted, rows=None):
    """Compare columns; row i of `found` is row `rows[i]` of `wanted`."""
    rows = range(len(wanted)) if rows is None else rows
    names = [name for name in wanted.column_names if name not in ("audio", "label", "text", "words")]
    for name in names:
        left, right = found[name][:], [wanted[name][int(i)] for i in rows]
        if name in ("transcript", "audio_status"):
            assert left == right
            continue
        for a, b in zip(left, right, strict=True):
            assert np.shape(a) == np.shape(b)
            assert np.abs(np.subtract(a, b)).max() <= TOLERANCE * max(
                1e-9, np.abs(np.concatenate([np.ravel(x) for x in right])).max()
            )


KINDS = ["wav2vec2", "hubert", "wavlm", "ctc", "seq2seq", "ast", "lenet", "leaky"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_row_depends_on_its_company(kind, made, tmp_path):
    eight = scored(made, kind, tmp_path)
    for size in (1, 32):
        other = scored(made, kind, tmp_path, batch_size=size)
        assert_same(other, eight)
        chosen = [hs.select_kmeans(ds, budget=0.5, n_clusters=3, seed=1) for ds in (eight, other)]
        assert chosen[0].ranked.tolist() == chosen[1].ranked.tolist()
        grouped = [hs.select_kmeans(ds, budget=0.5, n_clusters=3, seed=1).group for ds in (eight, other)]
        assert list(grouped[0]) == list(grouped[1])
        if "loss" in eight.column_names:
            chosen = [hs.select_by_score(ds, budget=0.4, column="loss") for ds in (eight, other)]
            assert chosen[0].ranked.tolist() == chosen[1].ranked.tolist()
    rows = np.random.default_rng(3).permutation(len(made))
    assert_same(scored(made.select(rows), kind, tmp_path, batch_size=4), eight, rows)
    rows = [11, 2, 2, 7, 2, 0]  # a part, some of it repeated
    assert_same(scored(made.select(rows), kind, tmp_path, batch_size=4), eight, rows)
    turned = made.select(range(len(made))[::-1]).flatten_indices()  # another table
    assert_same(scored(turned, kind, tmp_path, batch_size=5), eight, range(len(made))[::-1])


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "leaky"])
def test_long_neighbours_change_nothing(kind, tmp_path):
    clips = mixed(3, longest=0.4)
    alone = scored(labelled(clips), kind, tmp_path)
    long = [stored(sound(6.0, seed) * 3, name=f"long{seed}") for seed in range(3)]
    among = labelled([*clips, *long])
    together = scored(among, kind, tmp_path, batch_size=6)
    assert_same(together.select(range(3)), alone)


@pytest.mark.parametrize(
    ("kind", "padding"),
    [
        ("wav2vec2", "masked"), ("hubert", "masked"), ("wavlm", "masked"), ("ctc", "masked"), ("seq2seq", "fixed"),
        ("ast", "fixed"), ("lenet", "fixed"), ("leaky", "exact"),
    ],
)  # fmt: skip
def test_the_probe_finds_out_what_padding_does(kind, padding, short, tmp_path, caplog):
    with caplog.at_level(logging.DEBUG, "hf_select"):
        scored(short, kind, tmp_path)
    assert f"is {padding}" in next(text for text in caplog.messages if "padding of" in text)


def test_a_model_whose_padding_leaks_is_run_on_exact_lengths(made):
    model, extractor = leaky(), wave_extractor()
    found = np.array(hs.score(made, model, extractor, columns="embedding")["embedding"])
    clips = [hs.audio.read_clip(clip, sampling_rate=RATE).samples for clip in made.data["audio"].to_pylist()]
    with torch.no_grad():
        wanted = [
            model(**extractor(clip, sampling_rate=RATE, return_tensors="pt")).last_hidden_state[0].mean(0)
            for clip in clips
        ]
    np.testing.assert_allclose(found, np.stack(wanted), atol=1e-6)


def test_clips_of_one_length_share_a_batch_though_padding_leaks(tmp_path):
    seen = []
    model = leaky()
    model.register_forward_pre_hook(lambda _m, _a, kw: seen.append(len(kw["input_values"])), with_kwargs=True)
    ds = table([stored(sound(0.5, seed), name=f"{seed}") for seed in range(16)])
    hs.score(ds, model, wave_extractor(), columns="embedding", batch_size=8)
    assert seen.count(8) == 2  # the others are the probe's


def test_nothing_of_the_model_is_changed(short):
    model = wave_model(
        "Wav2Vec2", "ForSequenceClassification", attention_dropout=0.5, layerdrop=0.5, **GROUP, **naming(WORDS)
    )
    model.train()
    model.wav2vec2.feature_extractor.eval()  # frozen, as people do
    with torch.no_grad():  # transformers leaves hooks of its own at the first call
        model(torch.zeros(1, 4000), output_hidden_states=True)
    modes = [part.training for part in model.modules()]
    hooks = [(len(part._forward_hooks), len(part._forward_pre_hooks)) for part in model.modules()]
    weights = copy.deepcopy(model.state_dict())
    config = model.config.to_dict()
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    threads = torch.get_num_threads()
    first = hs.score(short, model, wave_extractor(), columns=["loss", "embedding"])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert torch.get_num_threads() == threads
    assert [part.training for part in model.modules()] == modes
    assert [(len(part._forward_hooks), len(part._forward_pre_hooks)) for part in model.modules()] == hooks
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert model.config.to_dict() == config and model.device.type == "cpu"
    assert all(parameter.grad is None for parameter in model.parameters())
    # dropout was off: the evaluation mode gives the same
    model.eval()
    again = hs.score(short, model, wave_extractor(), columns=["loss", "embedding"], overwrite=True, prefix="again_")
    assert_same(
        first.remove_columns("embedding"), again.rename_column("again_loss", "loss").remove_columns("again_embedding")
    )


def test_the_model_is_as_it_was_after_a_failure_too(short):
    model = wave_model("Wav2Vec2").train()

    def fail(*_args):
        raise RuntimeError("no luck")

    handle = model.encoder.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="no luck"):
        hs.score(short, model, wave_extractor(), columns="embedding")
    handle.remove()
    assert all(part.training for part in model.modules())
    assert not any(part._forward_hooks for part in model.modules())


def test_the_dataset_is_not_touched(made, tmp_path):
    before = (
        made.column_names,
        made._fingerprint,
        made.data.table.column("audio").chunk(0).field("bytes").buffers()[2].address,
    )
    shuffled = made.shuffle(seed=1)
    found = hs.score(shuffled, *lenet(), columns=["loss"])
    after = (
        made.column_names,
        made._fingerprint,
        made.data.table.column("audio").chunk(0).field("bytes").buffers()[2].address,
    )
    assert before == after
    assert found.data.table.column("audio").chunk(0).field("bytes").buffers()[2].address == before[2]  # nor copied
    assert found._indices is shuffled._indices and found._fingerprint != shuffled._fingerprint


def test_wrappers_of_distributed_training_are_taken_off(short, tmp_path):
    kind = torch.nn.parallel.DistributedDataParallel
    model, extractor = lenet()
    torch.distributed.init_process_group(
        "gloo", rank=0, world_size=1, store=torch.distributed.FileStore(str(tmp_path / "store"), 1)
    )
    try:
        wrapped = kind(model)
    finally:
        torch.distributed.destroy_process_group()
    for outer in (wrapped, torch.nn.DataParallel(model)):
        found = hs.score(short, outer, extractor, columns=["probs"], out=tmp_path / type(outer).__name__)
        assert found["probs"][:] == hs.score(short, model, extractor, columns=["probs"])["probs"][:]


@pytest.mark.parametrize("settings", [GROUP, LAYER], ids=["group", "layer"])
def test_no_number_of_threads_changes_a_bit(settings, made, tmp_path):
    model, columns = (
        wave_model("Wav2Vec2", "ForSequenceClassification", **settings, **naming(WORDS)),
        ["embedding", "probs"],
    )
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 4):  # batches in several threads at once, each with its own lengths and hidden states
            torch.set_num_threads(threads)
            out = tmp_path / str(threads)
            hs.score(made, model, wave_extractor(), columns=columns, layer=1, batch_size=8, out=out)
            assert torch.get_num_threads() == threads
            found.append((out / "scores.arrow").read_bytes())
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]
