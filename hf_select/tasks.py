"""A task to learn, for scripts that compare: its splits, and classifiers to train on them, from scratch or from a checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hf_select.columns import with_columns
from hf_select.demo.cast import HEAD_SHARE
from hf_select.demo.corpus import make_corpus
from hf_select.errors import ArgumentError, DatasetError
from hf_select.joining import append_columns
from hf_select.metadata import missing_metadata
from hf_select.readers import read_groups
from hf_select.rows import raw_column
from hf_select.sources import Source, open_dataset
from hf_select.splits import cut_off, split_pool
from hf_select.transforms import AudioInputs, Duration

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["DEMO", "SECONDS", "SpeechClassifier", "Splits", "open_splits"]

DEMO = "demo"  # the name of the embedded corpus
SECONDS, _END = "decoded_seconds", "heard_until"
_SHORTEST = 0.6  # seconds that every size of LeNet can take


@dataclass(frozen=True)
class Splits:
    """The splits of a dataset, each with thin columns, rows of unusable sound left out.

    Attributes:
        train, pool, validation, test: datasets; no speaker stands in two of them where speakers are known (the embedded
            corpus has the same ones in train and pool).
        source: where the sound is: `column` and `audio_root`.
        notes: sentences for people.
    """

    train: Dataset
    pool: Dataset
    validation: Dataset
    test: Dataset
    source: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    def map(self, change: Callable[[Dataset], Dataset]) -> Splits:
        """Return the splits, each changed by a function."""
        changed = {name: change(getattr(self, name)) for name in ("train", "pool", "validation", "test")}
        return Splits(**changed, source=self.source, notes=self.notes)


def open_splits(
    name: str,
    *,
    config: str | None = None,
    train_split: str | None = None,
    eval_split: str | None = None,
    test_split: str | None = None,
    audio: str | None = None,
    group: str | None = None,
    pool_share: float = 0.2,
    validation_share: float = 0.2,
    test_share: float = 0.2,
    by: tuple[str, ...] | list[str] = (),
    text: str | None = None,
    max_rows: Mapping[str, int | None] | None = None,
    demo_clips: int = 4000,
    demo_folder: Path | None = None,
    seed: int = 0,
) -> Splits:
    """Open a dataset and cut it into train, pool, validation and test, with the columns that rows are described by.

    Args:
        name: as in `open_dataset`, or "demo": the embedded corpus with planted weak subgroups, whose first 60 % of the
            training rows are train and the rest the pool.
        config, train_split, eval_split, test_split, audio: of the dataset; splits that are not named are cut off its training
            split.
        group: column of speakers, whom every cut leaves whole; None: "speaker", if there is one.
        pool_share, validation_share, test_share: of the rows each cut is made from.
        by: columns that the rows need; those that are missing are measured from the sound, see `SpeechMetadata`.
        text: column of what is said, for words per second.
        max_rows: split -> the most rows, drawn by chance.
        demo_clips, demo_folder: size of the embedded corpus, and where to keep it.
        seed: of the cuts, and of the embedded corpus.

    Raises:
        DatasetError: no such dataset, no sound, too few speakers. ColumnError: a column that can't be measured either.
    """
    if name == DEMO:
        corpus = make_corpus(demo_folder, clips=demo_clips, seed=seed, weak_subgroups=True)
        head = round(HEAD_SHARE * len(corpus["train"]))
        parts = {
            "train": corpus["train"].select(range(head)),
            "validation": corpus["validation"],
            "test": corpus["test"],
        }
        parts["pool"] = corpus["train"].select(range(head, len(corpus["train"])))
        source, notes = Source(corpus["train"], "the embedded corpus", audio="audio"), []
    else:
        how: dict[str, Any] = {"config": config, "audio": audio}
        source = open_dataset(name, split=train_split, **how)
        if source.audio is None:
            raise DatasetError(f"{source.name} has no audio column: name it with --audio_column_name.")
        group = group or ("speaker" if "speaker" in source.ds.column_names else None)
        shares = {"test": 0.0 if test_split else test_share, "validation": 0.0 if eval_split else validation_share}
        shares = {split: share for split, share in shares.items() if share}
        parts = cut_off(source.ds, shares, group=group, seed=seed) if shares else {"train": source.ds}
        named = {"validation": eval_split, "test": test_split}
        parts |= {split: open_dataset(name, split=there, **how).ds for split, there in named.items() if there}
        parts["train"], parts["pool"] = split_pool(parts["train"], pool_share, by=group, seed=seed)
        notes = [*source.notes, f"Cut by chance, {f'whole values of {group!r}' if group else 'row by row'}."]
    return _made_ready(parts, source, by, text, max_rows or {}, seed, notes)


def _made_ready(
    parts: dict[str, Dataset], source: Source, by: Any, text: str | None, max_rows: Any, seed: int, notes: list[str]
) -> Splits:
    """Limit, measure what is missing, and leave out rows of unusable sound."""
    where: dict[str, Any] = {"column": source.audio, "audio_root": source.audio_root}
    measured = missing_metadata(
        Source(parts["train"], source.name, source.audio_root, audio=source.audio), by, text=text
    )
    for name, ds in parts.items():
        most = max_rows.get(name)
        if most is not None and most < len(ds):
            ds = ds.select(np.sort(np.random.default_rng(seed).permutation(len(ds))[:most]))
        ds = with_columns(ds, Duration(duration_column=SECONDS, **where), overwrite=True)
        if measured is not None:
            ds = with_columns(ds, measured, overwrite=True)
        usable = np.flatnonzero(read_groups(ds, "audio_status") == "ok")
        if not len(usable):
            raise DatasetError(f"There is no usable clip in {name}.")
        if len(usable) < len(ds):
            notes.append(f"{len(ds) - len(usable)} clips of {name} can't be used and are left out.")
        parts[name] = ds.select(usable)
    _leave_out_doubles(parts, str(source.audio), notes)
    sizes = ", ".join(f"{name} {len(parts[name])}" for name in ("train", "pool", "validation", "test"))
    return Splits(**parts, source=where, notes=[f"{source.name}: {sizes} rows.", *notes])


def _leave_out_doubles(parts: dict[str, Dataset], audio: str, notes: list[str]) -> None:
    """Leave out rows of train and pool whose sound, byte for byte, stands in validation or test too."""
    sounds = {
        name: [hashlib.sha256(own or b"").digest() for own in raw_column(ds, audio, "bytes").to_pylist()]
        for name, ds in parts.items()
    }
    nothing = hashlib.sha256(b"").digest()  # of files beside the table, which are not compared
    tested = {*sounds["validation"], *sounds["test"]} - {nothing}
    for name in ("train", "pool"):
        kept = np.flatnonzero([sound not in tested for sound in sounds[name]])
        if len(kept) < len(parts[name]):
            notes.append(
                f"{len(parts[name]) - len(kept)} clips of {name} stand in validation or test too and are left out."
            )
            parts[name] = parts[name].select(kept)


class SpeechClassifier:
    """A classifier to be trained on a task: new ones by seed, and the rows as they take them.

    Args:
        name: "lenet-tiny", "lenet-small" or "lenet-large" (from scratch, on MFCC); else a checkpoint by name or folder, such as
            "facebook/wav2vec2-base", which gets a new head.
        splits: the task. Means and deviations of MFCC are those of its train rows.
        label: the column of classes.
        freeze_feature_encoder: leave the convolutions of Wav2Vec2 and its kin as they are.
        max_length_seconds: what is heard of a clip; None: for LeNets so much that 95 of 100 train clips are whole, else all.
        options: further arguments of `from_pretrained`.

    Attributes:
        labels: the classes by name.
        collate: the collator for a Trainer.
        extractor: the feature extractor.
    """

    def __init__(
        self,
        name: str,
        splits: Splits,
        *,
        label: str = "label",
        max_length_seconds: float | None = None,
        freeze_feature_encoder: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        from transformers import AutoFeatureExtractor, DataCollatorWithPadding, default_data_collator

        from hf_select.models import LENET_LAYERS, LeNetFeatureExtractor

        self.name, self.source, self.label, self.options = name, splits.source, label, dict(options or {})
        self.freeze = freeze_feature_encoder
        every = [
            read_groups(ds, label, "label_column_name")
            for ds in (splits.train, splits.pool, splits.validation, splits.test)
        ]
        self.labels = [str(one) for one in np.unique(np.concatenate(every))]
        if len(self.labels) < 2:
            raise DatasetError(f"Column {label!r} holds one class, {self.labels[0]!r}: there is nothing to learn.")
        self.size = name.removeprefix("lenet-") if name.startswith("lenet-") else None
        if self.size is not None and self.size not in LENET_LAYERS:
            raise ArgumentError(f"model_name_or_path: LeNets are lenet-{', lenet-'.join(LENET_LAYERS)}; got {name!r}.")
        self.heard = max_length_seconds
        if self.size is None:
            self.extractor: Any = AutoFeatureExtractor.from_pretrained(name, **self.options)
            self.collate: Any = DataCollatorWithPadding(self.extractor)
            return
        self.heard = self.heard or max(_SHORTEST, float(np.quantile(splits.train[SECONDS], 0.95)))
        self.extractor = LeNetFeatureExtractor(num_frames=max(1, int(self.heard * 100) - 1))
        self.extractor.fit(self._with_mfcc(splits.train)["mfcc"])
        self.collate = default_data_collator

    def new(self, seed: int) -> Any:
        """Return an untrained model: the same weights for the same seed, whatever was drawn before."""
        import torch
        from transformers import AutoModelForAudioClassification

        from hf_select.models import LeNetConfig, LeNetForAudioClassification

        names: dict[str, Any] = {"id2label": dict(enumerate(self.labels))}
        names["label2id"] = {name: number for number, name in enumerate(self.labels)}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if self.size is not None:
                config = LeNetConfig(size=self.size, num_frames=self.extractor.num_frames, **names)
                return LeNetForAudioClassification(config)
            model = AutoModelForAudioClassification.from_pretrained(self.name, **names, **self.options)
        if self.freeze and hasattr(model, "freeze_feature_encoder"):
            model.freeze_feature_encoder()
        return model

    def rows(self, ds: Dataset) -> Dataset:
        """Return the rows as the model takes them, beside all their columns: inputs and `labels` are what items hold."""
        places = {name: number for number, name in enumerate(self.labels)}
        columns = {"labels": pa.array([places[str(name)] for name in read_groups(ds, self.label)], pa.int64())}
        if self.size is None:
            ends = np.array(ds[SECONDS], dtype=float)
            columns[_END] = pa.array(ends if self.heard is None else np.minimum(ends, self.heard))
            ds = append_columns(ds, pa.table(columns))
            where = {"column": self.source["column"], "audio_root": self.source["audio_root"]}
            return ds.with_transform(AudioInputs(self.extractor, label_column="labels", end_column=_END, **where))
        with_mfcc = self._with_mfcc(ds)
        flat = self.extractor.inputs(with_mfcc, label_column=None).with_format("arrow")[:]["input_features"]
        columns["input_features"] = flat.combine_chunks() if isinstance(flat, pa.ChunkedArray) else flat
        return append_columns(ds, pa.table(columns)).with_format("torch", columns=["input_features", "labels"])

    def _with_mfcc(self, ds: Dataset) -> Dataset:
        return with_columns(ds, self.extractor.mfcc(duration_column=None, **self.source), overwrite=True)
