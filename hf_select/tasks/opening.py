"""The splits of a task: a dataset cut into train, pool, validation and test, with the columns that rows are described by."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_select.columns import with_columns
from hf_select.demo.cast import HEAD_SHARE
from hf_select.demo.corpus import make_corpus
from hf_select.errors import DatasetError
from hf_select.metadata import missing_metadata
from hf_select.readers import read_groups
from hf_select.rows import raw_column
from hf_select.sources import Source, open_dataset
from hf_select.splits import cut_off, split_pool
from hf_select.transforms import Duration

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["DEMO", "SECONDS", "Splits", "open_splits"]

DEMO = "demo"  # the name of the embedded corpus
SECONDS = "decoded_seconds"  # a column of every split


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
