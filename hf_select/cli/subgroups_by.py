"""Which columns `hf-select subgroups` describes rows by where none are named, and why the others are left out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from hf_select.errors import ColumnError
from hf_select.rows import raw_column
from hf_select.subgroups.conditions import ThinColumns

__all__ = ["columns_to_use"]

_MOST_TEXTS = 20
_FEW = 5  # so many different values, or fewer, are no ids
_SPEAKER = re.compile(r"speaker|spk|client_?id", re.IGNORECASE)


def columns_to_use(
    ds: Any, taken: Mapping[str, str | None], *, keep_constant: bool = False
) -> tuple[list[str], list[str]]:
    """Choose the columns that can describe rows: (their names, sentences that say which they are and which are not).

    Texts, truth values and classes with 2 to 20 different values, and numbers; not ids, speakers, lists or sound.

    Args:
        ds: the dataset. taken: role -> column that has another role: outcome, predicted, label, speaker.
        keep_constant: a column with one value is good too.

    Raises:
        ColumnError: there is none.
    """
    columns = ThinColumns(ds)
    reasons = {name: _unfit(ds, columns, name, taken, keep_constant=keep_constant) for name in ds.column_names}
    good = [name for name, reason in reasons.items() if reason is None]
    left_out = ", ".join(f"{name} ({reason})" for name, reason in reasons.items() if reason is not None)
    if not good:
        raise ColumnError(f"No column can describe rows: {left_out}. Name columns with --by.")
    notes = [f"Rows are described by all columns that can be: {', '.join(good)}."]
    if left_out:
        notes.append(f"Left out: {left_out}. Name columns with --by to choose others.")
    return good, notes


def _unfit(
    ds: Any, columns: ThinColumns, name: str, taken: Mapping[str, str | None], *, keep_constant: bool
) -> str | None:
    """Say why a column can't describe rows, or None."""
    kind = raw_column(ds, name).type
    if role := next((role for role, column in taken.items() if column == name), None):
        return "the speakers" if role == "speaker" else f"the {role}"
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_null(kind):
        return "no values" if pa.types.is_null(kind) else f"holds {_short(kind)}"
    if _SPEAKER.search(name):
        return "looks like speakers: pass --speaker"
    least = 1 if keep_constant else 2
    if columns.is_number(name):
        return _unfit_numbers(columns.numbers(name), least, whole=pa.types.is_integer(kind))
    codes, names = columns.texts(name)
    values = len(names)
    if values < least:
        return "one value" if values else "no values"
    if values == (codes >= 0).sum() > _FEW:
        return "another text in every row, an id"
    return f"{values:,} different texts" if values > _MOST_TEXTS else None


def _unfit_numbers(numbers: np.ndarray, least: int, *, whole: bool) -> str | None:
    there = numbers[~np.isnan(numbers)]
    values = len(np.unique(there))
    if values < least:
        return "one value" if values else "no values"
    if np.isinf(there).any():
        return "infinite numbers"
    return "another number in every row, an id" if whole and values == len(there) > _FEW else None


def _short(kind: pa.DataType) -> str:
    return "lists or sound" if pa.types.is_nested(kind) else "bytes"
