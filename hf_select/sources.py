"""Open a dataset wherever it lies: on the Hub, saved by `datasets`, in one file, or as a folder of sound files."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_select.errors import DatasetError
from hf_select.rows import audio_column

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["Source", "open_dataset"]

SOUND = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aiff", ".aif", ".aifc", ".au", ".w64", ".caf", ".m4a")
_TABLES = {".parquet": "parquet", ".arrow": "arrow", ".csv": "csv", ".jsonl": "json", ".json": "json"}


@dataclass(frozen=True)
class Source:
    """A dataset that was opened, with what is known about where it came from.

    Attributes:
        ds: one split, its audio column undecoded or lazily decoded.
        name: what to call it.
        audio_root: the folder inside which paths in rows may be opened; None where audio is embedded.
        key: a column of ids that outlives a move or an embedding, if the reader made one.
        notes: sentences for people, such as files that stand in no table.
        audio: the audio column, None where there is none.
    """

    ds: Dataset
    name: str
    audio_root: str | None = None
    key: str | None = None
    notes: tuple[str, ...] = ()
    audio: str | None = None


def open_dataset(
    name: str | os.PathLike[str],
    *,
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    audio: str | None = None,
) -> Source:
    """Open one split of a dataset, without decoding anything and whether or not torchcodec loads.

    Args:
        name: a Hub name ("google/speech_commands"); a folder saved by `save_to_disk`; a folder of sound files, with labels
            from `metadata.csv` (column `file_name`) or from its sub-folders; a folder of parquet files; or a .parquet,
            .arrow, .csv or .json(l) file. What exists on disk goes before the Hub.
        config, revision: of a Hub dataset.
        split: which split; None takes the only one, or "train".
        audio: the audio column, where its type does not tell.

    Raises:
        DatasetError: nothing of that name, no such split, no sound in the folder.
    """
    path = Path(name)
    if path.is_dir():
        source = _open_folder(path, split)
    elif path.is_file():
        source = _open_table(path, [path])
    elif str(name).startswith((".", "/", "~")) or path.suffix in _TABLES:
        raise DatasetError(f"There is no file or folder {str(name)!r}.")
    else:
        source = _open_hub(str(name), config, split, revision)
    if not len(source.ds):
        raise DatasetError(f"{name} holds no rows.")
    ds = _as_audio(source.ds, audio)
    if path.exists():  # a Selection names its source: say the file or folder, not the builder that read it
        ds.info.dataset_name, ds.info.config_name = source.name, None
    return replace(source, ds=ds, audio=audio or audio_column(ds))


def _open_folder(path: Path, split: str | None) -> Source:
    from datasets import load_from_disk

    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        return Source(_one_split(load_from_disk(path), split, str(path)), path.name)
    tables = sorted(p for p in path.rglob("*.parquet") if p.name != "selection.parquet" and not p.is_symlink())
    sounds = _sound_files(path)
    if tables and not sounds:
        of_split = [p for p in tables if p.name.split("-")[0] == (split or "train") or p.stem == (split or "train")]
        if split is not None and not of_split:
            raise DatasetError(
                f"{path} holds no parquet file of split {split!r}: {', '.join(p.name for p in tables[:5])}."
            )
        return _open_table(path, of_split or tables)
    if not sounds:
        raise DatasetError(
            f"{path} holds neither sound files ({', '.join(SOUND)}) nor parquet files, and was not saved by datasets."
        )
    if split is not None:
        sounds = [p for p in sounds if p.relative_to(path).parts[0] == split]
        if not sounds:
            raise DatasetError(f"{path} has no sub-folder {split!r} with sound files.")
    return _sound_folder(path, sounds)


def _sound_files(path: Path) -> list[Path]:
    found = []
    for folder, folders, names in os.walk(path):  # does not follow linked folders
        folders.sort()
        found += [Path(folder, name) for name in sorted(names) if name.lower().endswith(SOUND)]
    return found


def _sound_folder(root: Path, sounds: list[Path]) -> Source:
    """Read a folder of sound files: labels from metadata.csv, else from the sub-folders."""
    from datasets import Audio, Dataset

    table = root / "metadata.csv"
    notes: tuple[str, ...] = ()
    if table.exists():
        columns = _metadata(table)
        names = [str(name) for name in columns["file_name"]]
        left = {p.relative_to(root).as_posix() for p in sounds} - set(names)
        if left:
            notes = (f"{len(left)} sound files are not in metadata.csv and are left out, such as {sorted(left)[0]!r}.",)
    else:
        names = [p.relative_to(root).as_posix() for p in sounds]
        columns = {"file_name": names}
        labels = [p.parent.name for p in sounds]
        if len(set(labels)) > 1:
            columns["label"] = labels
    paths = [str(root.resolve() / name) for name in names]
    ds = Dataset.from_dict({"audio": paths, **columns}).cast_column("audio", Audio(decode=False))
    if not table.exists() and "label" in columns:
        ds = _encode_labels(ds)
    return Source(ds, root.name, audio_root=str(root.resolve()), key="file_name", notes=notes)


def _metadata(table: Path) -> dict[str, list[Any]]:
    import pandas as pd

    frame = pd.read_csv(table)
    if "file_name" not in frame.columns:
        raise DatasetError(
            f"{table} needs a column file_name (paths below {table.parent.name}/); it has {', '.join(frame.columns)}."
        )
    wrong = frame["file_name"].isna() | frame["file_name"].duplicated()
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise DatasetError(
            f"{table}: line {row + 2} names no file, or one that stands above ({frame['file_name'][row]!r})."
        )
    frame = frame.drop(columns=[c for c in frame.columns if c == "audio"])
    return {str(name): frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in frame.columns}


def _encode_labels(ds: Dataset) -> Dataset:
    from datasets import ClassLabel

    return ds.cast_column("label", ClassLabel(names=sorted(set(ds["label"]))))


def _open_table(path: Path, files: list[Path]) -> Source:
    from datasets import load_dataset

    kind = _TABLES.get(files[0].suffix)
    if kind is None:
        raise DatasetError(f"{files[0]} is no table: known are {', '.join(_TABLES)}.")
    try:
        ds = load_dataset(kind, data_files={"train": [str(f) for f in files]}, split="train")
    except Exception as error:
        raise DatasetError(f"{files[0]} can't be read as {kind}: {_last_line(error)}") from error
    return Source(ds, path.stem)


def _open_hub(name: str, config: str | None, split: str | None, revision: str | None) -> Source:
    from datasets import load_dataset

    try:
        loaded = load_dataset(name, config, revision=revision)
    except Exception as error:
        raise DatasetError(
            f"{name!r} is no file or folder here, and can't be loaded from the Hub: {_last_line(error)} "
            "Check the name, --config and --revision, and `hf auth login` for private data."
        ) from error
    return Source(_one_split(loaded, split, name), name if config is None else f"{name}/{config}")


def _one_split(loaded: Any, split: str | None, name: str) -> Dataset:
    if not isinstance(loaded, dict):
        return loaded
    wanted = split or (next(iter(loaded)) if len(loaded) == 1 else "train")
    if wanted not in loaded:
        raise DatasetError(f"{name} has no split {wanted!r}. Splits there are: {', '.join(map(str, loaded))}.")
    return loaded[wanted]


def _as_audio(ds: Dataset, audio: str | None) -> Dataset:
    """Give the audio column its type where a table has lost it (a struct of bytes and path, or a column named by hand)."""
    import pyarrow as pa
    from datasets import Audio

    if audio is None and audio_column(ds) is not None:
        return ds  # its type tells
    kinds = {field.name: field.type for field in ds.data.schema}
    structs = [n for n, k in kinds.items() if pa.types.is_struct(k) and {f.name for f in k} == {"bytes", "path"}]
    name = audio or (structs[0] if structs else None)
    if name is None:
        return ds  # a table of thin columns: fine for selectors
    if name not in kinds:
        raise DatasetError(f"There is no audio column {name!r}. Columns there are: {', '.join(kinds)}.")
    if type(ds.features[name]).__name__ == "Audio":
        return ds
    return ds.cast_column(name, Audio(decode=False))


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
