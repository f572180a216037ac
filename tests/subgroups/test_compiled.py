"""Compiled code: every function is called with one kind of arguments, or files of two processes could be mixed up."""

from __future__ import annotations

import numpy as np
from datasets import Dataset

import hf_select as hs
from hf_select.subgroups import hypergeometric, kernels
from hf_select.subgroups.significance import exact_p


def test_every_function_is_compiled_once():
    rng = np.random.default_rng(0)
    columns = {name: rng.choice(["a", "b", "c"], 300).tolist() for name in ("room", "label", "predicted", "speaker")}
    ds = Dataset.from_dict({**columns, "age": rng.integers(18, 80, 300).tolist(), "loss": rng.random(300).tolist()})
    ds = ds.add_column("correct", (rng.random(300) < 0.7).tolist())
    for outcome in ("correct", "loss"):
        for speaker in (None, "speaker"):
            groups = hs.find_subgroups(ds, by=["room", "age"], outcome=outcome, speaker=speaker, min_support=3)
            groups.contributions(groups.worst(1)[0])
    more = {"label": "label", "predicted": "predicted", "speaker": "speaker"}
    hs.find_subgroups(ds, by=["room", "age"], outcome="macro_f1", min_support=3, **more)
    exact_p([3], [3], size=6, ones=3)
    exact_p(np.arange(9)[::2], np.ones(5), size=20, ones=3)
    functions = {
        name: function
        for module in (kernels, hypergeometric)
        for name, function in vars(module).items()
        if hasattr(function, "signatures")
    }
    assert len(functions) >= 15
    assert {
        name: len(function.signatures) for name, function in functions.items() if len(function.signatures) > 1
    } == {}
