"""Classifiers to train on a task, from scratch or from a checkpoint: new ones by seed, and the rows as they take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hf_select.columns import with_columns
from hf_select.errors import ArgumentError, DatasetError
from hf_select.joining import append_columns
from hf_select.readers import read_groups
from hf_select.tasks.opening import SECONDS, Splits
from hf_select.transforms import AudioInputs

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["SpeechClassifier"]

_END = "heard_until"  # column of the second up to which a clip is heard
_SHORTEST = 0.6  # seconds that every size of LeNet can take


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
