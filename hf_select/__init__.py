"""Choose which speech data is worth training on, and which to get next.

    import hf_select as hs

The names below are loaded when they are first used: `import hf_select` itself loads neither torch nor datasets.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

_HOME = {  # public name -> the module it lives in
    "AcquisitionCallback": "hf_select.training",
    "ActiveView": "hf_select.training",
    "AudioInputs": "hf_select.transforms",
    "Budget": "hf_select.budget",
    "Choice": "hf_select.choice",
    "ClusterSweep": "hf_select.sweep",
    "CropAudio": "hf_select.transforms",
    "Duration": "hf_select.transforms",
    "HfSelectError": "hf_select.errors",
    "MFCC": "hf_select.transforms",
    "Selection": "hf_select.selection",
    "SpeechMetadata": "hf_select.transforms",
    "Subgroup": "hf_select.subgroups.subgroup",
    "Subgroups": "hf_select.subgroups.table",
    "TrainingDynamicsCallback": "hf_select.training",
    "balance": "hf_select.counts",
    "find_subgroups": "hf_select.subgroups.find",
    "last_whole_checkpoint": "hf_select.training",
    "load_scores": "hf_select.scoring",
    "load_subset": "hf_select.hub.subset",
    "meltrim": "hf_select.trimming",
    "per_sample_grad_norms": "hf_select.gradients",
    "plan_score": "hf_select.scoring",
    "publish": "hf_select.hub.publish",
    "score": "hf_select.scoring",
    "score_segments": "hf_select.scoring",
    "select_by_score": "hf_select.methods",
    "select_kmeans": "hf_select.methods",
    "select_meltrim": "hf_select.methods",
    "select_random": "hf_select.methods",
    "select_subgroups": "hf_select.methods",
    "select_weak_clusters": "hf_select.methods",
    "shopping_list": "hf_select.shopping",
    "split_pool": "hf_select.splits",
    "sweep_clusters": "hf_select.sweep",
    "verify": "hf_select.hub.verify",
    "train_judge": "hf_select.trimming",
    "with_columns": "hf_select.columns",
}

__all__ = [
    "MFCC",
    "AcquisitionCallback",
    "ActiveView",
    "AudioInputs",
    "Budget",
    "Choice",
    "ClusterSweep",
    "CropAudio",
    "Duration",
    "HfSelectError",
    "Selection",
    "SpeechMetadata",
    "Subgroup",
    "Subgroups",
    "TrainingDynamicsCallback",
    "balance",
    "find_subgroups",
    "last_whole_checkpoint",
    "load_scores",
    "load_subset",
    "meltrim",
    "per_sample_grad_norms",
    "plan_score",
    "publish",
    "score",
    "score_segments",
    "select_by_score",
    "select_kmeans",
    "select_meltrim",
    "select_random",
    "select_subgroups",
    "select_weak_clusters",
    "shopping_list",
    "split_pool",
    "sweep_clusters",
    "train_judge",
    "verify",
    "with_columns",
]

if TYPE_CHECKING:
    from hf_select.budget import Budget
    from hf_select.choice import Choice
    from hf_select.columns import with_columns
    from hf_select.counts import balance
    from hf_select.errors import HfSelectError
    from hf_select.gradients import per_sample_grad_norms
    from hf_select.hub.publish import publish
    from hf_select.hub.subset import load_subset
    from hf_select.hub.verify import verify
    from hf_select.methods import (
        select_by_score,
        select_kmeans,
        select_meltrim,
        select_random,
        select_subgroups,
        select_weak_clusters,
    )
    from hf_select.scoring import load_scores, plan_score, score, score_segments
    from hf_select.selection import Selection
    from hf_select.shopping import shopping_list
    from hf_select.splits import split_pool
    from hf_select.subgroups.find import find_subgroups
    from hf_select.subgroups.subgroup import Subgroup
    from hf_select.subgroups.table import Subgroups
    from hf_select.sweep import ClusterSweep, sweep_clusters
    from hf_select.training import AcquisitionCallback, ActiveView, TrainingDynamicsCallback, last_whole_checkpoint
    from hf_select.transforms import MFCC, AudioInputs, CropAudio, Duration, SpeechMetadata
    from hf_select.trimming import meltrim, train_judge


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'hf_select' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
