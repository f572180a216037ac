"""The plain loop that `score` is held against: one clip at a time, through transformers alone."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import soundfile
import soxr
import torch

import hf_select as hs

from .tiny import WORDS

TOLERANCE = 1e-5  # of the largest value
RATE = 16000
MASK = "ignore:Support for mismatched key_padding_mask:UserWarning"  # torch about WavLM's own attention
CLASSIFIED = ["probs", "predicted", "correct", "loss", "confidence", "margin", "entropy", "embedding"]


def hear(clip: dict[str, Any]) -> np.ndarray:
    samples, rate = soundfile.read(io.BytesIO(clip["bytes"]), dtype="float32")
    return samples if rate == RATE else soxr.resample(samples, rate, RATE, quality="HQ")


def one_by_one(ds: Any, of: Callable[[np.ndarray], Any]) -> list[Any]:
    """Return what `of` makes of each clip alone."""
    with torch.no_grad():
        return [of(hear(clip)) for clip in ds.data["audio"].to_pylist()]


def waves(extractor: Any, samples: np.ndarray) -> torch.Tensor:
    return extractor(samples, sampling_rate=RATE, return_tensors="pt")[extractor.model_input_names[0]]


def apart(found: Any, wanted: Any) -> float:
    """Return the largest difference, as a share of the largest value."""
    pairs = [(np.asarray(a, float).ravel(), np.asarray(b, float).ravel()) for a, b in zip(found, wanted, strict=True)]
    assert all(a.shape == b.shape for a, b in pairs)
    return max(np.abs(a - b).max() for a, b in pairs) / max(np.abs(b).max() for _, b in pairs)


def classified(ds: Any, model: Any, extractor: Any) -> dict[str, list[Any]]:
    """Return every score of a classifier, from the definitions."""
    logits = [row[0].double().numpy() for row in one_by_one(ds, lambda c: model(waves(extractor, c)).logits)]
    probs = [scipy.special.softmax(row) for row in logits]
    truth = [WORDS.index(name) for name in ds["label"]]
    ranked = [sorted(row) for row in probs]
    return {
        "probs": probs,
        "predicted": [int(row.argmax()) for row in probs],
        "correct": [int(row.argmax()) == y for row, y in zip(probs, truth, strict=True)],
        "loss": [-math.log(row[y]) for row, y in zip(probs, truth, strict=True)],
        "confidence": [max(row) for row in probs],
        "margin": [row[-1] - row[-2] for row in ranked],
        "entropy": [scipy.stats.entropy(row) for row in probs],
    }


def check_classifier(ds: Any, model: Any, extractor: Any, embedding: Callable[[np.ndarray], Any], same: Any) -> None:
    scored = hs.score(ds, model, extractor, columns=CLASSIFIED)
    wanted = classified(ds, model, extractor)
    for name in ("probs", "loss", "confidence", "margin", "entropy"):
        same(scored[name], wanted[name])
    assert scored["predicted"][:] == wanted["predicted"] and scored["correct"][:] == wanted["correct"]
    assert scored.features["predicted"].names == list(WORDS)
    same(scored["embedding"], one_by_one(ds, embedding))
    for row, label in enumerate(ds["label"]):  # HF's own loss says the same
        clip = hear(ds.data["audio"].to_pylist()[row])
        with torch.no_grad():
            loss = model(waves(extractor, clip), labels=torch.tensor([WORDS.index(label)])).loss
        assert scored["loss"][row] == pytest.approx(float(loss), abs=1e-4 * max(wanted["loss"]))
