"""The arguments that scripts share: what is trained on which rows, under the names of the transformers example."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hf_select.errors import ArgumentError
from hf_select.tasks.classifier import SpeechClassifier
from hf_select.tasks.opening import DEMO, Splits, open_splits

__all__ = ["DataTrainingArguments", "ModelArguments", "knob", "open_task", "parse_arguments"]


def knob(default: Any, help: str) -> Any:
    """Return a field of a dataclass of arguments, with its help; a list as default is copied."""
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": help})
    return field(default=default, metadata={"help": help})


@dataclass
class ModelArguments:
    """What is trained."""

    model_name_or_path: str = knob("lenet-small", "lenet-tiny, -small, -large (from scratch), or a checkpoint.")
    model_revision: str | None = knob(None, "Commit, tag or branch of the checkpoint.")
    cache_dir: str | None = knob(None, "Where checkpoints from the Hub are kept.")
    freeze_feature_encoder: bool = knob(True, "Leave the convolutions of Wav2Vec2 and its kin as they are.")


@dataclass
class DataTrainingArguments:
    """The rows."""

    dataset_name: str = knob(DEMO, "Hub name, folder, .parquet file; 'demo' is the embedded corpus.")
    dataset_config_name: str | None = knob(None, "Configuration of a Hub dataset.")
    train_split_name: str | None = knob(None, "Split of train and pool; the only one, or train.")
    eval_split_name: str | None = knob(None, "Split of the validation; cut off the training split if not given.")
    test_split_name: str | None = knob(None, "Split of the test; cut off the training split if not given.")
    audio_column_name: str | None = knob(None, "Column of sound, where its type does not tell.")
    label_column_name: str = knob("label", "Column of classes.")
    text_column_name: str | None = knob(None, "Column of what is said, for words per second.")
    group_column_name: str | None = knob(
        None, "Column of speakers, whom a cut leaves whole; 'speaker' if there is one."
    )
    max_train_samples: int | None = knob(None, "Most rows of the start, drawn by chance.")
    max_pool_samples: int | None = knob(None, "Most rows of the pool, drawn by chance.")
    max_eval_samples: int | None = knob(None, "Most rows of validation and test each, drawn by chance.")
    max_length_seconds: float | None = knob(None, "What is heard of a clip; None: all, or for LeNets 95 in 100 clips.")
    pool_share: float = knob(0.2, "Share of the training split that is held out as the pool (the paper's 20 %).")
    validation_share: float = knob(0.2, "Share of the rows that is cut off for the validation.")
    test_share: float = knob(0.2, "Share of the rows that is cut off for the test.")
    split_seed: int = knob(0, "Seed of the cuts, or of the embedded corpus.")
    demo_clips: int = knob(2000, "Size of the embedded corpus, in all splits together.")


def open_task(
    model: ModelArguments, data: DataTrainingArguments, by: list[str], folder: Path, seed: int
) -> tuple[Splits, SpeechClassifier]:
    """Return the splits and the classifier that the arguments ask for.

    Args:
        model, data: the arguments.
        by: columns that the rows need.
        folder: where the embedded corpus is kept.
        seed: of the cuts, and of the embedded corpus.
    """
    most = {"train": data.max_train_samples, "pool": data.max_pool_samples}
    splits = open_splits(
        data.dataset_name, config=data.dataset_config_name, train_split=data.train_split_name,
        eval_split=data.eval_split_name, test_split=data.test_split_name, audio=data.audio_column_name,
        group=data.group_column_name, pool_share=data.pool_share, validation_share=data.validation_share,
        test_share=data.test_share, by=by, text=data.text_column_name, demo_clips=data.demo_clips,
        demo_folder=folder / f"corpus-{data.demo_clips}-{seed}", seed=seed,
        max_rows={**most, "validation": data.max_eval_samples, "test": data.max_eval_samples},
    )  # fmt: skip
    options = {"revision": model.model_revision, "cache_dir": model.cache_dir}
    given = {} if model.model_name_or_path.startswith("lenet-") else {k: v for k, v in options.items() if v is not None}
    classifier = SpeechClassifier(
        model.model_name_or_path, splits, label=data.label_column_name, max_length_seconds=data.max_length_seconds,
        freeze_feature_encoder=model.freeze_feature_encoder, options=given,
    )  # fmt: skip
    return splits, classifier


def parse_arguments(classes: Sequence[type], words: Sequence[str]) -> tuple[Any, ...]:
    """Parse arguments into dataclasses by transformers' HfArgumentParser.

    Args:
        classes: the dataclasses.
        words: of the command line. The first may be a .json or .yaml file of the same names; what follows goes over it.

    Raises:
        ArgumentError: the file can't be read, or holds no mapping of names to values.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Size:
    ...     rows: int = 3
    >>> parse_arguments([Size], ["--rows", "4"])[0].rows
    4
    """
    from transformers import HfArgumentParser

    words = list(words)
    if words and Path(words[0]).suffix in (".json", ".yaml", ".yml"):
        words = [*_words(Path(words[0])), *words[1:]]
    return tuple(HfArgumentParser(list(classes)).parse_args_into_dataclasses(args=words))  # type: ignore[arg-type]


def _words(path: Path) -> list[str]:
    """Return the words that say what a file says."""
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ArgumentError(f"The arguments can't be read from {path}: {error}.") from error
    if not isinstance(values, dict):
        raise ArgumentError(f"{path} must map names of arguments to values, and holds {type(values).__name__}.")
    words: list[str] = []
    for name, value in values.items():
        if value is not None and value != []:  # an empty list is the default of every list here
            words += [f"--{name}", *(map(str, value) if isinstance(value, list) else [_word(value)])]
    return words


def _word(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)
