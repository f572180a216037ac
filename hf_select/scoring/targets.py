"""What rows should be: labels matched by name with the model's, and texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hf_select.errors import ColumnError
from hf_select.rows import base_column, require_columns, take_rows

__all__ = ["match_labels", "read_texts"]


def match_labels(ds: Any, column: str, rows: np.ndarray, label2id: Mapping[str, int]) -> list[int | None]:
    """Return the model's number for the label of each row of the base table, None where there is no label.

    Numbers of a ClassLabel are never taken for the model's: names are compared. A column of bare whole numbers is taken
    as it is only if the model has no names either (`LABEL_0`, ...), or has these numbers as names.

    Raises:
        ColumnError: no such column, or a label that the model does not have.
    """
    require_columns(ds, [column], "label=")
    names = {str(name): int(number) for name, number in label2id.items()}
    values = take_rows(base_column(ds, column), rows).to_pylist()
    feature = ds.features[column]
    if hasattr(feature, "int2str"):
        found = [None if value is None or value < 0 else feature.names[value] for value in values]
    else:
        found = [None if value is None else str(value) for value in values]
        if _nameless(names) and all(isinstance(value, int) for value in values if value is not None):
            found = [None if value is None else f"LABEL_{value}" for value in values]
    unknown = sorted({name for name in found if name is not None and name not in names})
    if unknown:
        raise ColumnError(
            f"label={column!r}: the model has no class {unknown[0]!r}"
            + (f" (and {len(unknown) - 1} others)" if len(unknown) > 1 else "")
            + f". Its classes are {', '.join(list(names)[:20])}. Labels are matched by name: set model.config.label2id and id2label "
            "to the names of your dataset, in the order it was trained with."
        )
    return [None if name is None else names[name] for name in found]


def read_texts(ds: Any, column: str, rows: np.ndarray) -> list[str | None]:
    """Return the text of each row of the base table.

    Raises:
        ColumnError: no such column, or it holds no text.
    """
    import pyarrow as pa

    require_columns(ds, [column], "text=")
    values = take_rows(base_column(ds, column), rows)
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        raise ColumnError(f"text={column!r} holds {values.type}, and text is needed.")
    return values.to_pylist()  # type: ignore[no-any-return]


def _nameless(names: Mapping[str, int]) -> bool:
    return all(name == f"LABEL_{number}" for name, number in names.items())
