"""Tables of cells, a line per training: columns that have to be there, groups, and sets that have no value of a column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hf_select.errors import ArgumentError, ColumnError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NONE", "groups", "is_none", "one_a_seed", "require", "said", "signs"]

NONE = "-"  # how tables of papers write that a set has no such value


def require(cells: pd.DataFrame, columns: Sequence[str]) -> None:
    """Check that these columns are there.

    Raises:
        ColumnError: one is not.
    """
    if missing := [name for name in dict.fromkeys(columns) if name not in cells.columns]:
        raise ColumnError(f"The cells have no column {missing[0]!r}; they have {', '.join(map(str, cells.columns))}.")


def is_none(values: pd.Series) -> pd.Series:
    """Say of each value whether it stands for no value: None, NaN or "-".

    >>> import pandas as pd
    >>> is_none(pd.Series([2, None, "-", ""])).tolist()
    [False, True, True, False]
    """
    return values.isna() | (values == NONE)


def said(cells: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return the cells with the columns `by` as tables show them: no value is "-", and whole numbers are whole beside it.

    Pandas makes 2.0 of 2 where a NaN is in the column.

    Raises:
        ColumnError: a column of `by` is missing.

    >>> import pandas as pd
    >>> said(pd.DataFrame({"k": [2, None]}), ["k"])["k"].tolist()
    [2, '-']
    """
    require(cells, by)
    return cells.assign(**{name: _said(cells[name]) for name in by})


def groups(cells: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Yield the values of `by`, as `said` has them, and the cells of each, in the order of first appearance.

    Raises:
        ColumnError: a column of `by` is missing.

    >>> import pandas as pd
    >>> [(key, len(own)) for key, own in groups(pd.DataFrame({"k": [2, None, 2]}), ["k"])]
    [({'k': 2}, 2), ({'k': '-'}, 1)]
    """
    cells = said(cells, by)
    if by:
        for key, own in cells.groupby(list(by), sort=False):
            yield dict(zip(by, key, strict=True)), own
    elif len(cells):
        yield {}, cells


def one_a_seed(cells: pd.DataFrame, what: str) -> pd.DataFrame:
    """Return the cells of one set with their seeds as index.

    Raises:
        ArgumentError: two cells have one seed, so that they can't be told apart.
    """
    found = cells.set_index("seed")
    if twice := found.index[found.index.duplicated()].tolist():
        raise ArgumentError(
            f"{what} has two cells of seed {twice[0]}: tell them apart by one more column in by=, or by the method's name."
        )
    return found


def signs(measures: Mapping[str, int]) -> None:
    """Check that each measure has a sign.

    Raises:
        ArgumentError: one is neither 1 (more is better) nor -1 (less is).
    """
    for name, sign in measures.items():
        if sign not in (1, -1):
            raise ArgumentError(f"measures= says 1 where more is better, -1 where less is; got {sign!r} for {name!r}.")


def _said(values: pd.Series) -> pd.Series:
    none = is_none(values)
    if not none.any():
        return values
    if values.dtype.kind == "f" and (values[~none] % 1 == 0).all():
        values = values.fillna(0).astype(int)
    return values.astype(object).where(~none, NONE)
