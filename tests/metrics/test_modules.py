"""The metrics as `evaluate` has them: loaded from a folder offline, added to in batches, combined, pickled, refused."""

from __future__ import annotations

import copy
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import EvalPrediction

from hf_select import metrics
from hf_select.errors import ArgumentError

NAMES = ["class_balance", "equal_error_rate", "subgroup_divergence", "weighted_unweighted_accuracy"]
CLASSES = {
    "class_balance": "ClassBalance",
    "equal_error_rate": "EqualErrorRate",
    "subgroup_divergence": "SubgroupDivergence",
    "weighted_unweighted_accuracy": "WeightedUnweightedAccuracy",
}


def example(name):
    """Return (rows, options of compute) that suit a metric."""
    rng = np.random.default_rng(7)
    references = rng.integers(0, 2, 60).tolist()
    if name == "equal_error_rate":
        return {"predictions": (rng.normal(size=60) + references).tolist(), "references": references}, {}
    predictions = np.where(rng.random(60) < 0.7, references, rng.integers(0, 2, 60)).tolist()
    if name == "class_balance":
        return {"references": references}, {"classes": [0, 1, 2]}
    if name == "subgroup_divergence":
        by = {"gender": rng.choice(["f", "m"], 60).tolist(), "age": rng.uniform(18, 80, 60).tolist()}
        return {"predictions": predictions, "references": references}, {"by": by, "min_support": 0.1}
    return {"predictions": predictions, "references": references}, {}


@pytest.mark.parametrize("name", NAMES)
def test_loaded_from_its_folder_as_used_directly(name):
    import evaluate

    rows, options = example(name)
    loaded = evaluate.load(metrics.path(name))
    assert loaded.name == name
    assert type(loaded).__module__.startswith("evaluate_modules.")
    assert loaded.compute(**rows, **options) == getattr(metrics, CLASSES[name])().compute(**rows, **options)


def test_loaded_offline_from_elsewhere_in_a_new_process(tmp_path):
    """As a user has it: no network, another working directory, no test machinery; the file is copied elsewhere."""
    program = (
        "import evaluate\nfrom hf_select import metrics\n"
        "metric = evaluate.load(metrics.path('equal_error_rate'))\n"
        "print(metric.compute(predictions=[.9, .8, .2, .1], references=[1, 1, 0, 0]))"
    )
    home = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-W", "error::SyntaxWarning", "-c", program], cwd=tmp_path, env=home,
                          capture_output=True, text=True)  # fmt: skip
    assert done.stdout == "{'equal_error_rate': 0.0, 'equal_error_threshold': 0.8}\n", done.stderr
    assert list(tmp_path.rglob("*/equal_error_rate.py"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("keep_in_memory", [False, True])
def test_batches_give_what_one_compute_gives(name, keep_in_memory):
    metric = getattr(metrics, CLASSES[name])(keep_in_memory=keep_in_memory)
    rows, options = example(name)
    whole = metric.compute(**rows, **options)
    for start in range(0, 60, 25):
        metric.add_batch(**{key: values[start : start + 25] for key, values in rows.items()})
    metric.add_batch(**{key: [] for key in rows})  # as from a loader with an empty end
    assert metric.compute(**options) == whole
    for row in zip(*rows.values(), strict=True):
        metric.add(**{key.removesuffix("s"): value for key, value in zip(rows, row, strict=True)})
    assert metric.compute(**options) == whole
    assert metric.compute(**rows, **options) == whole  # nothing is left over
    tensors = {key: torch.tensor(values) for key, values in rows.items()}
    assert metric.compute(**tensors, **options) == pytest.approx(whole, nan_ok=True)


@pytest.mark.parametrize("name", NAMES)
def test_pickled_and_copied(name):
    metric = getattr(metrics, CLASSES[name])()
    rows, options = example(name)
    whole = metric.compute(**rows, **options)
    for twin in (pickle.loads(pickle.dumps(metric)), copy.deepcopy(metric)):
        assert twin.compute(**rows, **options) == whole


@pytest.mark.parametrize("name", NAMES)
def test_results_can_be_written(name, tmp_path):
    import evaluate

    rows, options = example(name)
    found = getattr(metrics, CLASSES[name])().compute(**rows, **options)
    evaluate.save(tmp_path / "found.json", **found)
    written = json.loads((tmp_path / "found.json").read_text())
    assert {key: written[key] for key in found} == found
    assert {type(value) for value in found.values()} <= {int, float, type(None)}


def test_combined():
    import evaluate

    rows, options = example("subgroup_divergence")
    parts = [metrics.WeightedUnweightedAccuracy(), metrics.ClassBalance(), metrics.SubgroupDivergence()]
    both = evaluate.combine(parts)
    found = both.compute(**rows, **options, classes=[0, 1])
    alone = metrics.WeightedUnweightedAccuracy().compute(**rows)
    alone |= metrics.ClassBalance().compute(references=rows["references"], classes=[0, 1])
    assert found == alone | metrics.SubgroupDivergence().compute(**rows, **options)
    for start in range(0, 60, 20):
        both.add_batch(**{key: values[start : start + 20] for key, values in rows.items()})
    assert both.compute(**options, classes=[0, 1]) == found


def test_combined_with_a_metric_of_the_evaluate_library_and_with_itself():
    import evaluate

    loaded = [evaluate.load(metrics.path("weighted_unweighted_accuracy")) for _ in range(2)]
    found = evaluate.combine({"first": loaded[0], "again": loaded[1]}).compute(predictions=[0, 1], references=[0, 0])
    assert found["first_weighted_accuracy"] == found["again_weighted_accuracy"] == 0.5


def test_text_labels_and_number_labels():
    metric = metrics.WeightedUnweightedAccuracy()
    numbers = metric.compute(predictions=[0, 1, 1], references=[0, 1, 0])
    assert metric.compute(predictions=["no", "yes", "yes"], references=["no", "yes", "no"]) == numbers
    assert metric.compute(predictions=["0", "yes", "yes"], references=["0", "yes", "0"]) == numbers  # "0" stays text
    assert metric.compute(predictions=np.array([0.0, 1, 1]), references=[False, True, False]) == numbers
    assert metrics.ClassBalance().compute(references=["a", "b"]) == {"class_balance": 1.0}


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("WeightedUnweightedAccuracy", {}, "there are no rows"),
        ("WeightedUnweightedAccuracy", {"predictions": [], "references": []}, "there are no rows"),
        ("WeightedUnweightedAccuracy", {"predictions": [1]}, "references= is missing"),
        ("WeightedUnweightedAccuracy", {"references": [1]}, "predictions= is missing"),
        ("WeightedUnweightedAccuracy", {"predictions": [1, 0], "references": [1]}, "2 predictions and 1 references"),
        ("WeightedUnweightedAccuracy", {"predictions": ["1"], "references": [1]}, "these are mixed"),
        ("WeightedUnweightedAccuracy", {"predictions": [[0.2, 0.8]], "references": [1]}, "argmax"),
        ("WeightedUnweightedAccuracy", {"predictions": [0.7], "references": [1]}, "row 0 is 0.7"),
        ("WeightedUnweightedAccuracy", {"predictions": [1], "references": [1], "avrage": "x"}, "no option 'avrage'"),
        ("EqualErrorRate", {"predictions": [0.2, 0.3], "references": [1, 1]}, "pairs of both kinds"),
        ("EqualErrorRate", {"predictions": [0.2, float("nan")], "references": [0, 1]}, "not finite"),
        ("EqualErrorRate", {"predictions": [0.2, 0.3], "references": [0, 2]}, "0 or 1 here, and 2"),
        ("ClassBalance", {"predictions": [1, 0]}, "references= is missing"),
        ("ClassBalance", {"references": [1, 5], "classes": [0, 1]}, "'5' is none of the 2 classes"),
        ("SubgroupDivergence", {"predictions": [1], "references": [1]}, "by="),
    ],
)
def test_refusals_are_clear_and_leave_the_metric_usable(name, given, message, evaluate_home):
    metric = getattr(metrics, name)()
    with pytest.raises(ArgumentError, match=re.escape(message)):
        metric.compute(**given)
    assert not list((evaluate_home / "rows").rglob("*.arrow"))  # no rows, and no lock that the next call waits for
    assert getattr(metric, "filelocks", None) is None
    rows, options = example(metric.name)
    assert metric.compute(**rows, **options) == getattr(metrics, name)().compute(**rows, **options)


def test_a_refused_batch_adds_nothing():
    metric = metrics.WeightedUnweightedAccuracy()
    metric.add_batch(predictions=[1, 0], references=[1, 1])
    for bad in ({"predictions": [1, None], "references": [1, 1]}, {"predictions": ["a"], "references": ["b"]}):
        with pytest.raises(ArgumentError):
            metric.add_batch(**bad)
    with pytest.raises(ArgumentError, match="no input 'scores'"):
        metric.add_batch(predictions=[1], references=[1], scores=[1])
    assert metric.compute()["weighted_accuracy"] == 0.5


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_is_a_whole_space(name):
    folder = Path(metrics.path(name))
    card = (folder / "README.md").read_text(encoding="utf-8")
    front = card.split("---\n")[1]
    for line in ("title: ", "sdk: gradio", "app_file: app.py", "- evaluate", "- metric"):
        assert line in front
    for heading in ("## How to use", "## Inputs", "## Output", "## Limitations", "## Citation"):
        assert heading in card
    assert "compute_metrics" in card
    assert f'"{name}.py"' in (folder / "app.py").read_text(encoding="utf-8")
    assert "hf-select" in (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    module = (folder / f"{name}.py").read_text(encoding="utf-8")
    assert not re.findall(r"^import .*,|^from \.", module, flags=re.MULTILINE)  # evaluate.load can't read these


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_the_card_run(name):
    card = (Path(metrics.path(name)) / "README.md").read_text(encoding="utf-8")
    found: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    checked = [
        re.sub(r"^(\S.*?)  # -> (.*)$", r"assert str(\1) == str(\2)", block, flags=re.MULTILINE) for block in blocks
    ]
    assert sum(block.count("assert") for block in checked) >= 1
    for block in checked:
        exec(compile(block, f"{name}/README.md", "exec"), found)
    labels = np.array([0, 1, 1, 0])
    scores = np.array([[0.1], [0.9], [0.3], [0.2]])
    logits = scores if name == "equal_error_rate" else np.hstack([1 - scores, scores])
    found["valid"] = {"gender": ["f", "m", "f", "m"], "age": [20, 30, 40, 20], "snr_db": [1.5, 2.5, 2.5, 1.5]}
    measured = found["compute_metrics"](EvalPrediction(predictions=logits, label_ids=labels))
    assert all(isinstance(value, (int, float)) for value in measured.values())


def test_path_of_a_metric_that_is_not_there():
    with pytest.raises(ArgumentError, match=r"no metric 'eer'\. Metrics there are: class_balance, equal_error_rate"):
        metrics.path("eer")
    with pytest.raises(ArgumentError):
        metrics.path("../methods")


def test_the_room_loads_nothing_heavy():
    program = "import sys, hf_select.metrics; print(sorted(m for m in sys.modules if '.' not in m))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    for name in ("evaluate", "datasets", "torch", "transformers", "numpy"):
        assert f"'{name}'" not in loaded
    assert sorted(metrics.__all__) == sorted([*metrics._HOME, "path"])
    for name in metrics.__all__:
        assert getattr(metrics, name).__doc__
        assert name in dir(metrics)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        metrics.nothing  # noqa: B018
