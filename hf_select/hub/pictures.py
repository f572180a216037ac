"""The pictures of a published config: drawn from thin columns, without cells that could point at a person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_select.errors import ArgumentError, ColumnError
from hf_select.report.figures import plot_labels, plot_rows
from hf_select.selection import Selection

__all__ = ["draw_pictures"]


def draw_pictures(
    ds: Any,
    selection: Selection,
    folder: Path,
    *,
    tables: Sequence[dict[str, Any]] = (),
    column: str | None = None,
) -> list[list[str]]:
    """Draw the figures of a card into a folder that is there, and return [file, what it shows] of each.

    Args:
        ds: the dataset that was selected from, in any order of rows.
        selection: what was kept of it.
        folder: where the .png files go.
        tables: `ConfigFacts.tables`: each is drawn as bars, unless it has cells of fewer than 5 rows; speakers are in none.
        column: the vectors to draw rows by; None: those that the Selection was made on, if they are in `ds`.
    """
    drawn = []
    column = column or selection.params.get("column")
    if isinstance(column, str) and column in ds.column_names:
        try:
            plot_rows(ds, selection, column, folder / "rows.png")
            drawn.append(["rows.png", "Kept and dropped rows in two dimensions, by PCA"])
        except (ArgumentError, ColumnError):  # numbers instead of vectors, or nothing to draw: then there is no picture
            drawn = []
    for number, counts in enumerate(tables):
        if counts["values"] and not _has_small_cells(counts):
            plot_labels(ds, selection, counts["column"], folder / f"kept-{number}.png")
            drawn.append([f"kept-{number}.png", f"Rows kept and dropped per {counts['column']}"])
    return drawn


def _has_small_cells(table: dict[str, Any]) -> bool:
    return bool(table["hidden"]["values"]) or any(kept is None for _, kept, *_ in table["values"])
