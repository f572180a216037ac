"""What makes a subgroup: conditions on thin columns, how rows are tested against them, and how they read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hf_select.errors import ColumnError
from hf_select.rows import raw_batch, raw_column, require_columns

__all__ = ["Condition", "ThinColumns", "phrase"]

_PLAIN = re.compile(r"[^\s\"';=<>&|](?:[^\"';=<>&|\r\n\t]*[^\s\"';=<>&|])?")  # reads well without quotes


@dataclass(frozen=True)
class Condition:
    """One condition on one column: it equals a value, or lies in a bin.

    Attributes:
        attribute: the column.
        value: the value as text; of a bin its name ("low", "medium", "high").
        low, high: of a bin, its bounds: low < x <= high; None where it is open. Both None: no bin.
        classes: class names of a ClassLabel column, to read batches that hold numbers without their names.

    Example:
        >>> str(Condition("gender", "female")), str(Condition("age", "high", low=60.0))
        ('gender = female', 'age > 60')
    """

    attribute: str
    value: str
    low: float | None = None
    high: float | None = None
    classes: tuple[str, ...] = ()

    @property
    def is_bin(self) -> bool:
        """Whether numbers are compared, not texts."""
        return self.low is not None or self.high is not None

    def __str__(self) -> str:
        name = _quoted(self.attribute)
        if not self.is_bin:
            return f"{name} = {_quoted(self.value)}"
        if self.low is None:
            return f"{name} <= {_number(self.high)}"
        if self.high is None:
            return f"{name} > {_number(self.low)}"
        return f"{_number(self.low)} < {name} <= {_number(self.high)}"

    def mask(self, columns: ThinColumns) -> NDArray[np.bool_]:
        """Say for each row whether it meets the condition; a row without a value does not."""
        if not self.is_bin:
            codes, names = columns.texts(self.attribute, self.classes)
            return codes == names.index(self.value) if self.value in names else np.zeros(len(codes), dtype=bool)
        numbers = columns.numbers(self.attribute)
        above = numbers > (-math.inf if self.low is None else self.low)
        return above & (numbers <= (math.inf if self.high is None else self.high))  # NaN: never

    def to_dict(self) -> dict[str, Any]:
        """Return the condition in plain JSON values."""
        bounds = {"low": self.low, "high": self.high} if self.is_bin else {}
        classes = {"classes": list(self.classes)} if self.classes else {}
        return {"attribute": self.attribute, "value": self.value, **bounds, **classes}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Condition:
        """Make a condition of what `to_dict` gave."""
        classes = tuple(values.get("classes", ()))
        return cls(values["attribute"], values["value"], values.get("low"), values.get("high"), classes)


def phrase(conditions: Iterable[Condition]) -> str:
    """Write conditions as a phrase: "gender = female and age > 60"; none at all is "all rows"."""
    return " and ".join(str(condition) for condition in conditions) or "all rows"


class ThinColumns:
    """The columns of a dataset, or of one batch of rows, as subgroups read them; each is read once, none is decoded."""

    def __init__(self, source: Any) -> None:
        self._is_dataset = hasattr(source, "column_names") and hasattr(source, "_indices")
        self._source = source if self._is_dataset else raw_batch(source)
        formatter = getattr(source, "formatter", None)
        self._features = dict(getattr(source if self._is_dataset else formatter, "features", None) or {})
        self._texts: dict[str, tuple[NDArray[np.int32], list[str]]] = {}
        self._numbers: dict[str, NDArray[np.float64]] = {}

    def require(self, names: Iterable[str], purpose: str) -> None:
        """Raise a ColumnError that names the columns there are, if one of `names` is missing."""
        if self._is_dataset:
            require_columns(self._source, list(names), purpose)
        elif missing := [name for name in names if name not in self._source]:
            raise ColumnError(
                f"{purpose}: there is no column {missing[0]!r} in this batch. Columns there are: {', '.join(self._source)}."
            )

    @cached_property
    def num_rows(self) -> int:
        """Rows of the dataset or batch."""
        if self._is_dataset:
            return len(self._source)
        return len(next(iter(self._source.values()), []))

    def is_number(self, name: str) -> bool:
        """Whether a column holds numbers (truth values and class labels are no numbers)."""
        kind = self._column(name).type
        return (pa.types.is_integer(kind) or pa.types.is_floating(kind)) and not self.classes(name)

    def texts(self, name: str, classes: tuple[str, ...] = ()) -> tuple[NDArray[np.int32], list[str]]:
        """Return a column as (code of each row, the texts in order of the codes); -1 is a row without a value.

        Numbers are written without a needless ".0", so that 3 and 3.0 are one value; class labels by name.
        """
        if name not in self._texts:
            column = self._column(name)
            if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
                raise ColumnError(f"Subgroups: column {name!r} holds {column.type}, and one value per row is needed.")
            encoded = column.cast(pa.large_string()) if pa.types.is_string(column.type) else column
            encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
            if isinstance(encoded, pa.ChunkedArray):
                encoded = pa.concat_arrays(encoded.chunks) if encoded.num_chunks else pa.array([], encoded.type)
            encoded = encoded if pa.types.is_dictionary(encoded.type) else pc.dictionary_encode(encoded)
            codes = pc.fill_null(encoded.indices.cast(pa.int32()), -1).to_numpy(zero_copy_only=False)
            names = [_text(value) for value in encoded.dictionary.to_pylist()]
            if known := (self.classes(name) or classes if _whole(encoded.dictionary.type) else ()):
                names = [known[int(n)] if n is not None and 0 <= int(n) < len(known) else None for n in names]
            self._texts[name] = _merged(codes, names)
        return self._texts[name]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return a column of numbers as float64; a row without one is NaN."""
        if name not in self._numbers:
            column = self._column(name)
            kind = column.type
            if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)):
                raise ColumnError(
                    f"Subgroups: column {name!r} holds {kind}, and numbers are needed, as where the subgroups were found."
                )
            values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
            self._numbers[name] = np.array(values, dtype=np.float64)
        return self._numbers[name]

    def _column(self, name: str) -> pa.Array | pa.ChunkedArray:
        if self._is_dataset:
            return raw_column(self._source, name)
        table = getattr(self._source, "table", None)
        if table is not None:
            return table.column(name)
        values = self._source[name]
        return pa.array(values.tolist() if isinstance(values, np.ndarray) else list(values))

    def classes(self, name: str) -> tuple[str, ...]:
        """Return the class names of a ClassLabel column; of any other none."""
        return tuple(getattr(self._features.get(name), "names", None) or ())


def _merged(codes: NDArray[np.int32], names: list[str | None]) -> tuple[NDArray[np.int32], list[str]]:
    """Sort the texts, give equal ones one code, and those that are None the code -1."""
    kept = sorted({name for name in names if name is not None})
    place = {name: code for code, name in enumerate(kept)}
    new = np.array([-1 if name is None else place[name] for name in names] + [-1], dtype=np.int32)
    return new[codes], kept  # the code -1 picks the last entry


def _whole(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind))


def _text(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _number(value: float | None) -> str:
    return f"{value:.10g}"


def _quoted(text: str) -> str:
    """Put a name or value in quotes where it would not read as one; ";" is always escaped (it separates phrases)."""
    if _PLAIN.fullmatch(text) and " and " not in text:
        return text
    return json.dumps(text, ensure_ascii=False).replace(";", "\\u003b")
