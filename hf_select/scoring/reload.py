"""Join scores that an earlier run of `score(out=...)` has written to the rows they belong to."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hf_select.errors import ColumnError, DatasetError
from hf_select.joining import append_columns, join
from hf_select.parts import file_digest
from hf_select.rows import RowKey, audio_column, base_positions, column_names, require_dataset
from hf_select.scoring.work import CLASSES, KEY, STATUS

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["load_scores", "recipe"]


def load_scores(
    ds: Dataset, folder: str | os.PathLike[str], *, overwrite: bool = False, audio: str | None = None
) -> Dataset:
    """Add the columns that `score(out=folder)` wrote, each to the row whose clip it was made from.

    Reads:
        The audio column's names, lengths and a few hundred bytes a row; nothing is decoded. The dataset may have been
        shuffled, thinned or loaded anew since; rows that hold a path alone are known by it, and others once embedded.

    Args:
        ds: a map-style dataset.
        folder: what was given as `out`.
        overwrite: replace columns of the same names.
        audio: the audio column, where its type does not tell.

    Returns:
        The dataset with the columns. Where it has the rows of the file in their order nothing is copied.

    Raises:
        DatasetError: no scores there, or damaged ones; a row that they were not made on; rows with one clip and several
            scores (made with different labels) in another order than then.
        ColumnError: a column exists already.

    Relations: `score` itself, called again with the same arguments, finds its result too.
    """
    from datasets import ClassLabel
    from datasets.table import MemoryMappedTable

    require_dataset(ds, "load_scores")
    path = Path(folder) / "scores.arrow"
    table = MemoryMappedTable.from_file(str(_checked(path)))
    new = [name for name in table.column_names if name != KEY]
    there = [name for name in new if name in column_names(ds) and name != STATUS]
    if there and not overwrite:
        raise ColumnError(f"There is a column {there[0]!r} already: pass overwrite=True to replace it.")
    column = audio or audio_column(ds)
    if column is None:
        raise ColumnError(f"Scores belong to clips, and there is no audio column: {', '.join(ds.column_names)}.")
    keys = RowKey("audio", (column,)).of(ds)
    classes = json.loads((table.schema.metadata or {}).get(CLASSES, b"null"))
    features = {name: ClassLabel(names=classes) for name in new if classes and name.endswith("predicted")}
    if base_positions(ds) is None and table.column(KEY).combine_chunks().equals(keys):
        return join(ds, table.select(new), file_digest(path)[:16] + ds._fingerprint, features)
    rows = _places(table.table, keys, path)
    return append_columns(ds, table.table.select(new).take(pa.array(rows)), features)


def _checked(path: Path) -> Path:
    note = path.with_suffix(".sha256")
    if not (path.exists() and note.exists()):
        raise DatasetError(f"{path.parent} holds no finished scores: it is what score(..., out=...) writes.")
    if note.read_bytes() != file_digest(path).encode():
        raise DatasetError(f"{path} is damaged: its checksum differs. Run score again, which notices and mends it.")
    return path


def _places(table: pa.Table, keys: pa.Array, path: Path) -> np.ndarray:
    """Return for each row of the dataset the row of the file that was made from its clip."""
    first: dict[Any, int] = {}
    rows = table.column(KEY).to_pylist()
    for row, key in enumerate(rows):
        if key is None:
            continue
        before = first.setdefault(key, row)
        if before != row and not table.slice(before, 1).equals(table.slice(row, 1)):
            raise DatasetError(
                f"Rows {before} and {row} of {path} have one clip and different scores, so that they can't be told apart in "
                "a dataset of another order. Call score again on this dataset."
            )
    wanted = keys.to_pylist()
    unknown = [row for row, key in enumerate(wanted) if key not in first]
    if unknown:
        raise DatasetError(
            f"{len(unknown)} of {len(wanted)} rows are not among the {len(first)} clips of {path}, the first is row "
            f"{unknown[0]}: these scores were made on other data. Call score on this dataset."
        )
    return np.array([first[key] for key in wanted], dtype=np.int64)


def recipe(folder: str | os.PathLike[str]) -> str:
    """Return the Python that makes the scores in a folder, with the digest of the model that made them."""
    record = json.loads((Path(folder) / "scores.json").read_text(encoding="utf-8"))
    model, given = record["model"], record["parameters"]
    plain = {"label": "label", "text": "text", "prefix": "", "pool": "mean", "max_seconds": 600.0}
    call, shown = "score", {"columns": record["columns"]}
    if cut := given.get("segments"):
        call, shown = (
            "score_segments",
            {"n_segments": cut["number"], **{name: cut[name] for name in ("ratio", "by", "seed")}},
        )
    shown |= {k: v for k, v in given.items() if k in (*plain, "layer", "grid", "audio") and v != plain.get(k)}
    arguments = ", ".join(f"{name}={value!r}" for name, value in shown.items())
    return (
        f"ds = hs.{call}(ds, {Path(model['name']).name!r}, {arguments})  # the model of digest {model['digest'][:16]}"
    )
