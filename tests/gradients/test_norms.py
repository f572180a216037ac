"""Gradient norms are those of a loop of single backward passes, whatever the model is made of."""

from __future__ import annotations

import logging

import architectures
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrizations

from hf_select.errors import ArgumentError
from hf_select.gradients import GradNorms, per_sample_grad_norms

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")  # of WavLM itself


def one_a_sample(labels):
    return lambda out: cross_entropy(out.logits if hasattr(out, "logits") else out, labels, reduction="none")


def by_loop(model, batch, labels):
    """Each sample alone: its rows of the batch, a forward pass, a backward pass, the norm over all parameters."""
    norms = []
    for row in range(len(labels)):
        model.zero_grad()
        one_a_sample(labels[row : row + 1])(
            model(**{name: value[row : row + 1] for name, value in batch.items()})
        ).sum().backward()
        squares = [p.grad.double().square().sum() for p in model.parameters() if p.grad is not None and p.requires_grad]
        norms.append(torch.stack(squares).sum().sqrt())
    model.zero_grad()
    return torch.stack(norms)


def relative(found, expected):
    return float(((found - expected).abs() / expected).max())


@pytest.mark.parametrize("name", architectures.NAMES)
def test_every_architecture(name, caplog):
    model, batch = architectures.make(name)
    labels = torch.arange(architectures.SAMPLES) % architectures.CLASSES
    norms = GradNorms(model)
    expected = by_loop(model, batch, labels)
    first, second = norms(batch, one_a_sample(labels)), norms(batch, one_a_sample(labels))
    assert first.dtype == torch.float64 and relative(first, expected) < 1e-6 and relative(second, expected) < 1e-6
    assert not caplog.records  # all of it in one pass
    single, batch = architectures.make(name, torch.float32)
    assert relative(per_sample_grad_norms(single, batch, one_a_sample(labels)), expected) < 1e-4


@pytest.mark.parametrize("name", ["wav2vec2, masked", "wavlm, masked", "whisper", "ast"])
def test_frozen_parameters_do_not_count(name):
    model, batch = architectures.make(name)
    labels = torch.arange(architectures.SAMPLES) % architectures.CLASSES
    whole = per_sample_grad_norms(model, batch, one_a_sample(labels))
    for number, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(number % 3 > 0)
    found = per_sample_grad_norms(model, batch, one_a_sample(labels))
    assert relative(found, by_loop(model, batch, labels)) < 1e-6 and bool((found < whole).all())


def test_positions_that_are_trained():
    model, batch = architectures.make("whisper")
    labels = torch.arange(architectures.SAMPLES) % architectures.CLASSES
    before = per_sample_grad_norms(model, batch, one_a_sample(labels))
    model.encoder.embed_positions.requires_grad_(True)
    found = per_sample_grad_norms(model, batch, one_a_sample(labels))
    assert relative(found, by_loop(model, batch, labels)) < 1e-6 and bool((found > before).all())


def test_weighted_layers_are_taken_one_by_one_and_that_is_said_once(caplog):
    torch.manual_seed(0)
    model, batch = architectures.make("wav2vec2")
    model = (
        type(model)(type(model.config)(**{**model.config.to_dict(), "use_weighted_layer_sum": True})).double().eval()
    )
    labels, norms = torch.arange(5) % 4, GradNorms(model)
    for _ in range(3):
        assert relative(norms(batch, one_a_sample(labels)), by_loop(model, batch, labels)) < 1e-6
    (record,) = caplog.records
    assert (
        record.levelno == logging.WARNING
        and "1 of 52 parameters" in record.message
        and "layer_weights" in record.message
    )


# -- layers, one by one


class Net(nn.Module):
    """Some layers, then a mean over all places, then classes."""

    def __init__(self, *layers, width):
        super().__init__()
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(width, 3)

    def forward(self, x):
        hidden = self.layers(x)
        return self.head(hidden.flatten(2).mean(dim=2) if hidden.ndim > 2 else hidden)


def normed(layer, **how):
    with torch.no_grad():
        found = parametrizations.weight_norm(layer, **how)
        found.parametrizations.weight.original0.mul_(1.5)  # else w is v
    return found


def old_normed(layer, **how):
    with pytest.warns(FutureWarning):
        found = nn.utils.weight_norm(layer, **how)
    found.weight_g.data.mul_(1.5)
    return found


def channels(size=8):
    return (4, size, 11)


LAYERS = {
    "conv1d": (lambda: nn.Conv1d(4, 8, 3), (4, 20)),
    "conv1d of few steps": (lambda: nn.Conv1d(4, 64, 5), (4, 6)),
    "conv1d strided, dilated, padded, in groups": (lambda: nn.Conv1d(4, 8, 4, 3, 5, 2, 2, bias=False), (4, 31)),
    "conv1d same": (lambda: nn.Conv1d(4, 8, 5, padding="same", dilation=2), (4, 20)),
    "conv1d valid": (lambda: nn.Conv1d(4, 8, 4, padding="valid"), (4, 20)),
    "conv1d circular": (lambda: nn.Conv1d(4, 8, 5, padding=2, padding_mode="circular"), (4, 20)),
    "conv1d reflect": (lambda: nn.Conv1d(4, 8, 5, padding=(3,), padding_mode="reflect"), (4, 20)),
    "conv2d": (lambda: nn.Conv2d(2, 8, (3, 2)), (2, 9, 7)),
    "conv2d strided, dilated, padded, in groups": (
        lambda: nn.Conv2d(4, 8, (3, 2), (2, 3), (1, 4), (2, 1), 4),
        (4, 12, 13),
    ),
    "conv2d same": (lambda: nn.Conv2d(4, 8, (5, 3), padding="same", dilation=(1, 2)), (4, 9, 9)),
    "depthwise": (lambda: nn.Conv1d(8, 8, 3, groups=8), (8, 20)),
    "weight norm 2": (lambda: normed(nn.Conv1d(8, 8, 6, padding=3, groups=2), dim=2), (8, 11)),
    "weight norm 0": (lambda: normed(nn.Conv1d(4, 8, 3), dim=0), (4, 20)),
    "weight norm 1": (lambda: normed(nn.Conv2d(4, 8, 3), dim=1), (4, 7, 7)),
    "weight norm of all": (lambda: normed(nn.Conv1d(4, 8, 3), dim=None), (4, 20)),
    "older weight norm": (lambda: old_normed(nn.Conv1d(8, 8, 6, groups=2), dim=2), (8, 11)),
    "group norm": (lambda: nn.GroupNorm(2, 8), (8, 11)),
    "group norm 2d": (lambda: nn.GroupNorm(4, 8, eps=1e-3), (8, 5, 4)),
    "batch norm": (lambda: nn.BatchNorm1d(8), (8, 11)),
    "batch norm of vectors": (lambda: nn.BatchNorm1d(8), (8,)),
    "batch norm 2d": (lambda: nn.BatchNorm2d(8), (8, 4, 5)),
    "layer norm of two": (lambda: nn.LayerNorm((8, 11)), (8, 11)),
    "layer norm without bias": (lambda: nn.LayerNorm(11, bias=False), (8, 11)),
    "linear over places": (lambda: nn.Linear(11, 6, bias=False), (8, 11)),
}
WIDTHS = {"conv1d of few steps": 64}


def check(model, batch, labels=None, rows=5):
    labels = torch.arange(rows) % 3 if labels is None else labels
    model = model.double().eval()
    norms, expected = GradNorms(model), by_loop(model, batch, labels)
    for _ in range(2):
        assert relative(norms(batch, one_a_sample(labels)), expected) < 1e-9
    return norms


@pytest.mark.parametrize("name", LAYERS)
def test_every_kind_of_layer(name, caplog):
    torch.manual_seed(1)
    build, shape = LAYERS[name]
    model = Net(build(), width=WIDTHS.get(name, 8))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.running_mean.uniform_(-1, 1)
                module.running_var.uniform_(0.5, 2)
            elif isinstance(module, nn.GroupNorm | nn.LayerNorm):
                module.weight.uniform_(0.5, 2)
    check(model, {"x": torch.randn(5, *shape, dtype=torch.float64)})
    assert not caplog.records


def test_a_layer_that_is_called_three_times(caplog):
    torch.manual_seed(2)
    layer = nn.Linear(7, 7)
    check(Net(layer, nn.Tanh(), layer, nn.Tanh(), layer, width=4), {"x": torch.randn(5, 4, 7, dtype=torch.float64)})
    layer = nn.Conv1d(4, 4, 3, padding=1)
    check(Net(layer, nn.ReLU(), layer, width=4), {"x": torch.randn(5, 4, 9, dtype=torch.float64)})
    assert not caplog.records


class Words(nn.Module):
    def __init__(self, size=40, **how):
        super().__init__()
        self.words, self.places, self.token = (
            nn.Embedding(size, 6, **how),
            nn.Embedding(9, 6),
            nn.Parameter(torch.randn(1, 1, 6)),
        )
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        hidden = self.words(x) + self.places(torch.arange(x.shape[1]))
        return self.head(torch.cat([self.token.expand(len(x), -1, -1), hidden], dim=1).tanh().mean(dim=1))


@pytest.mark.parametrize("how", [{}, {"padding_idx": 3}, {"size": 5}], ids=str)
def test_embeddings_places_and_tokens(how, caplog):
    torch.manual_seed(3)
    x = torch.randint(0, 5, (4, 9))
    check(Words(**how), {"x": x}, torch.arange(4) % 3)
    check(Words(**how), {"x": torch.randint(0, 5, (9, 9))}, torch.arange(9) % 3)  # as many samples as places
    assert all("embed" not in record.message for record in caplog.records)


class Loose(nn.Module):
    """Parameters outside of layers, layers without a rule, and layers that are used past their forward."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.recurrent = nn.GRU(8, 8, batch_first=True)
        self.past = nn.Linear(8, 8)
        self.scale = nn.Parameter(torch.randn(8))
        self.norm = nn.RMSNorm(8)
        self.unused = nn.Linear(3, 3)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        hidden = self.attention(x, x, x, need_weights=False)[0] + self.recurrent(x)[0]
        hidden = self.norm(nn.functional.linear(hidden, self.past.weight, self.past.bias) * self.scale.softmax(0))
        return self.head(hidden.mean(dim=1))


def test_what_no_rule_covers_is_exact_too(caplog):
    torch.manual_seed(4)
    check(Loose(), {"x": torch.randn(5, 6, 8, dtype=torch.float64)})
    (record,) = caplog.records
    assert "10 of 16 parameters" in record.message, record.message


def test_a_parameter_that_two_layers_share():
    torch.manual_seed(5)
    model = Net(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), width=6)
    model.layers[2].weight = model.layers[0].weight
    check(model, {"x": torch.randn(5, 6, dtype=torch.float64)})


class Writes(nn.Module):
    """Writes into what a layer returned, and into what a layer was given."""

    def __init__(self, given):
        super().__init__()
        self.first, self.second, self.head, self.given = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3), given

    def forward(self, x):
        hidden = self.first(x)
        hidden[:, 2:] = 0
        hidden = hidden * 1
        other = self.second(hidden)
        if self.given:
            hidden.mul_(2)
        return self.head(torch.relu_(other).mean(dim=1) + hidden.detach().mean(dim=1))


def test_outputs_that_are_written_to(caplog):
    torch.manual_seed(6)
    check(Writes(False), {"x": torch.randn(5, 4, 6, dtype=torch.float64)})
    assert not caplog.records


class Two(nn.Module):
    """Another way for batches that are loud."""

    def __init__(self):
        super().__init__()
        self.quiet, self.loud, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.loud(x) if x.abs().max() > 10 else nn.functional.linear(x, self.quiet.weight)))


def test_another_way_through_the_model_than_at_first():
    torch.manual_seed(7)
    model = Two().double().eval()
    norms, labels = GradNorms(model), torch.arange(5) % 3
    for factor in (1, 100, 1, 100):
        batch = {"x": torch.randn(5, 6, dtype=torch.float64) * factor}
        assert relative(norms(batch, one_a_sample(labels)), by_loop(model, batch, labels)) < 1e-9


def test_one_sample_and_batches_of_any_size():
    model, batch = architectures.make("lenet tiny")
    labels, norms = torch.arange(5) % 4, GradNorms(model)
    expected = by_loop(model, batch, labels)
    for rows in (slice(0, 1), slice(0, 5), slice(2, 4), slice(4, 5)):
        found = norms({name: value[rows] for name, value in batch.items()}, one_a_sample(labels[rows]))
        assert relative(found, expected[rows]) < 1e-9


def test_the_model_is_left_as_it_was():
    model, batch = architectures.make("wavlm")
    labels = torch.arange(5) % 4
    cross_entropy(model(**batch).logits, labels).backward()
    next(iter(model.parameters())).requires_grad_(False)
    grads = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    hooks = [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()]
    with torch.no_grad():  # as inside an evaluation
        per_sample_grad_norms(model, batch, one_a_sample(labels))

    def breaks(out):
        raise KeyError("loss")

    for _ in range(2):
        with pytest.raises(KeyError):
            per_sample_grad_norms(model, batch, breaks)
    assert {name: p.requires_grad for name, p in model.named_parameters()} == flags
    for name, p in model.named_parameters():
        assert (p.grad is None) == (grads[name] is None) and (p.grad is None or torch.equal(p.grad, grads[name]))
    assert [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()] == hooks
    assert all("forward" not in vars(module) for module in model.modules())


def test_ctc(caplog):
    import transformers as tr

    model, batch = architectures.make("wav2vec2 layer norm, masked")
    torch.manual_seed(8)
    model = (
        tr.Wav2Vec2ForCTC(type(model.config)(**{**model.config.to_dict(), "vocab_size": 7, "pad_token_id": 0}))
        .double()
        .eval()
    )
    targets, lengths = torch.randint(1, 7, (5, 3)), torch.tensor([3, 2, 1, 3, 2])

    def loss(rows):
        def of(out):
            frames = model._get_feat_extract_output_lengths(batch["attention_mask"][rows].sum(dim=1))
            logs = out.logits.log_softmax(2).transpose(0, 1)
            return nn.functional.ctc_loss(
                logs, targets[rows], frames, lengths[rows], reduction="none", zero_infinity=True
            )

        return of

    found = per_sample_grad_norms(model, batch, loss(slice(None)))
    for row in range(5):
        model.zero_grad()
        rows = slice(row, row + 1)
        loss(rows)(model(**{name: value[rows] for name, value in batch.items()})).sum().backward()
        alone = sum(p.grad.square().sum() for p in model.parameters() if p.grad is not None).sqrt()
        assert abs(found[row] / alone - 1) < 1e-6
    assert not caplog.records


def test_losses_without_what_is_trained():
    torch.manual_seed(9)
    model = Two().double().eval()
    with torch.no_grad():
        model.loud.weight.mul_(0.02)  # else loud batches saturate, and gradients vanish
    model.requires_grad_(False).loud.requires_grad_(True)
    batch = {"x": torch.randn(5, 6, dtype=torch.float64)}  # goes the quiet way
    norms, labels = GradNorms(model), torch.arange(5) % 3
    for _ in range(2):
        assert norms(batch, one_a_sample(labels)).tolist() == [0.0] * 5
    loud = {"x": batch["x"] * 100}
    assert relative(norms(loud, one_a_sample(labels)), by_loop(model, loud, labels)) < 1e-9


# -- what cannot be done


def test_errors():
    model, batch = architectures.make("lenet tiny")
    loss = one_a_sample(torch.arange(5) % 4)
    with pytest.raises(ArgumentError, match=r"model is training.*Call model.eval\(\)"):
        per_sample_grad_norms(model.train(), batch, loss)
    model.eval()
    with pytest.raises(ArgumentError, match=r"one number a sample, of shape \(5,\); it returned \(\)"):
        per_sample_grad_norms(model, batch, lambda out: cross_entropy(out.logits, torch.arange(5) % 4))
    with pytest.raises(ArgumentError, match=r"float32 or float64.*torch.bfloat16"):
        per_sample_grad_norms(model.bfloat16(), batch, loss)
    with pytest.raises(ArgumentError, match="samples first; it has none"):
        per_sample_grad_norms(model.double(), {}, loss)
    with pytest.raises(ArgumentError, match="No parameter of the model is trainable"):
        per_sample_grad_norms(model.requires_grad_(False), batch, loss)
