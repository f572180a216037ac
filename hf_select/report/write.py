"""Write the report on a Selection: a page of Markdown that says what was kept of what, and why, and its pictures."""

from __future__ import annotations

import inspect
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hf_select import methods
from hf_select.errors import ArgumentError, OutputError
from hf_select.readers import read_groups
from hf_select.report.markdown import template, without_paths
from hf_select.report.page import Page, balance_row, table_of
from hf_select.rows import base_column, require_columns, require_dataset
from hf_select.selection import Selection

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["balance_table", "write_report"]

_MARK = "<!-- written by hf_select: this file and its figures are replaced when the report is written again -->"
_FIGURES = ("rows_pca.png", "rows_umap.png", "labels.png", "correlations.png")


def balance_table(ds: Any, selections: Mapping[str, Selection], by: str) -> pd.DataFrame:
    """Compare how balanced the labels are in the original set and in what each Selection keeps of it.

    Reads:
        `by`: one value per row. A row without one counts as a row, not as a class.

    Args:
        ds: the dataset that was selected from, in any order of rows.
        selections: Selections by name, such as {"simple, 30 % pruned": sel}.
        by: the column of labels.

    Returns:
        A table with a row for "original" and one per Selection, and the columns rows, kept_share, classes (that are left)
        and balance (in the classes of the original set: a class that was lost counts).

    Raises:
        ArgumentError: a Selection is called "original". ColumnError: no such column. SelectionError: another dataset.

    Reference:
        Bergsma et al., Cluster-based pruning techniques for audio data, table 1.

    Relations:
        `Selection.describe` counts rows per label; `hs.balance` is the figure itself.

    Example:
        >>> from datasets import Dataset
        >>> import hf_select as hs
        >>> ds = Dataset.from_dict({"label": ["yes", "yes", "no", "no"], "loss": [4.0, 3.0, 2.0, 1.0]})
        >>> sel = hs.select_by_score(ds, budget=2, column="loss")
        >>> balance_table(ds, {"highest loss": sel}, by="label")["balance"].to_dict()
        {'original': 1.0, 'highest loss': 0.0}
    """
    import pandas as pd

    require_dataset(ds, "balance_table")
    if "original" in selections:
        raise ArgumentError("'original' is the whole set in this table: give the Selection another name.")
    labels = read_groups(ds, by, "by=")
    masks = {"original": np.ones(len(ds), dtype=bool)} | {name: sel.mask(ds) for name, sel in selections.items()}
    rows = [balance_row(labels, mask) for mask in masks.values()]
    return pd.DataFrame(rows, index=pd.Index(list(masks), name="selection"))


def write_report(
    ds: Any,
    selection: Selection,
    folder: str | os.PathLike[str],
    *,
    by: str | Sequence[str] | None = None,
    column: str | None = None,
    label: str | None = None,
    umap: bool = False,
    extra: Mapping[str, Any] | None = None,
    duration: str = "duration",
) -> Path:
    """Write `report.md` and `figures/*.png` into a folder: what was kept, how much, of what, why, and how to do it again.

    Reads:
        The columns named below and, for the correlations of clusters, every column of one value per row; never audio.

    Args:
        ds: the dataset that was selected from, in any order of rows.
        selection: what was kept of it.
        folder: a folder that is there. An earlier report of this function is replaced; a `report.md` by anyone else is not.
        by: a column or several, to count kept rows by: speaker, gender, accent.
        column: the vectors to draw rows by; None: those that the Selection was made on, or no such picture.
        label: the column of labels; None: the first ClassLabel column, if there is one.
        umap: draw rows by UMAP as well as by PCA.
        extra: more sections, by title: a DataFrame or a Mapping becomes a table, anything else a paragraph.
        duration: the column of seconds; without it, hours are left out.

    Returns:
        The path of `report.md`. All that comes from the dataset is escaped in it, values are cut to 80 characters, and
        local paths are left out.

    Raises:
        ColumnError: no such column. SelectionError: another dataset. OutputError: the folder is not there, can't be
        written, or holds a `report.md` by anyone else.

    Relations:
        `Selection.save` writes the Selection itself; put both into one folder.

    Example:
        >>> import tempfile, hf_select as hs
        >>> from datasets import Dataset
        >>> ds = Dataset.from_dict({"word": ["yes", "yes", "no"], "loss": [3.0, 2.0, 1.0]})
        >>> sel = hs.select_by_score(ds, budget=2, column="loss")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     "2 of 3 rows kept" in write_report(ds, sel, folder, label="word").read_text()
        True
    """
    require_dataset(ds, "write_report")
    groups = [by] if isinstance(by, str) else list(by or [])
    require_columns(ds, [name for name in (label, column, *groups) if name is not None], "write_report")
    label = label or next((name for name, kind in ds.features.items() if hasattr(kind, "int2str")), None)
    columns = list(dict.fromkeys(name for name in (label, *groups) if name is not None))
    home = Path(folder)
    _check_home(home)
    try:
        with tempfile.TemporaryDirectory(dir=home, prefix=".report-") as workshop:
            page = Page(ds, selection, Path(workshop), duration)
            sections = _sections(page, columns, label, column or _own_vectors(ds, selection), umap, extra or {})
            text = re.sub(r"\n{3,}", "\n\n", template("report.md.j2").render(sections))
            (page.figures / "report.md").write_text(text, encoding="utf-8", newline="\n")
            _move(page.figures, home)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"The report can't be written to {home}: {error}.") from error
    return home / "report.md"


def _check_home(home: Path) -> None:
    if not home.is_dir():
        raise OutputError(f"A report goes into a folder that is there, and {home} is not: make it first.")
    page = home / "report.md"
    if page.exists() and not page.read_text(encoding="utf-8", errors="replace").startswith(_MARK):
        raise OutputError(f"{page} is there already and is no report of hf_select: move it, or choose another folder.")


def _move(workshop: Path, home: Path) -> None:
    """Put a finished report in the place of an earlier one."""
    (home / "figures").mkdir(exist_ok=True)
    for name in _FIGURES:
        if (workshop / name).exists():
            (workshop / name).replace(home / "figures" / name)
        else:
            (home / "figures" / name).unlink(missing_ok=True)
    (workshop / "report.md").replace(home / "report.md")


def _sections(
    page: Page, columns: list[str], label: str | None, vectors: str | None, umap: bool, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the template prints; values are escaped there."""
    from markupsafe import Markup

    sel = page.selection
    sections = {
        **page.headline(),
        "mark": Markup(_MARK),
        "method": sel.method,
        "budget": sel.budget,
        "seed": sel.seed,
        "why": _why(sel.method),
        "pictures": page.row_pictures(vectors, umap=umap),
        "excluded": page.excluded(),
        "balance": page.balance(columns),
        "kept_per": [page.kept_per(name, draw=name == label) for name in columns],
        "clusters": page.clusters(),
        "warnings": [without_paths(warning) for warning in sel.warnings],
        "extra": [_extra(title, content) for title, content in extra.items()],
        "made": page.made(),
        "code": [Markup(line) for line in _code(sel, len(page.ds))],
    }
    return {**sections, "notes": [without_paths(note) for note in page.notes]}


def _own_vectors(ds: Any, selection: Selection) -> str | None:
    """Return the column of vectors that the Selection was made on, if it was."""
    column = selection.params.get("column")
    if not isinstance(column, str) or column not in ds.column_names:
        return None
    kind = base_column(ds, column).type
    return column if pa.types.is_nested(kind) and not pa.types.is_struct(kind) else None


def _why(method: str) -> str:
    """Return the first line of what the method's documentation says."""
    if method not in methods.__all__:
        return ""
    return (inspect.getdoc(getattr(methods, method)) or "").partition("\n")[0]


def _extra(title: str, content: Any) -> dict[str, Any]:
    is_table = isinstance(content, Mapping) or hasattr(content, "to_numpy")
    return {"title": title, "table": table_of(content) if is_table else None, "text": str(content)}


def _code(selection: Selection, rows: int) -> list[str]:
    """Return the Python lines that do it again: literals in ASCII, so that nothing in them can pass for code."""
    name = without_paths(ascii(selection.source.get("name") or "your dataset"))
    lines = [
        "import hf_select as hs",
        "",
        f"ds = ...  # the {rows:,} rows that were selected from: {name}",
        'sel = hs.Selection.load(".")  # the folder of selection.json and selection.parquet',
        "small = sel.apply(ds)",
    ]
    key = selection.source["key"]
    params = {"budget": selection.budget, **selection.params, "seed": selection.seed}
    params |= {"key": key["columns"][0]} if key["kind"] == "column" else {}
    if selection.method not in methods.__all__ or not all(name.isidentifier() for name in params):
        return lines
    arguments = [f"    {name}={without_paths(ascii(value))}," for name, value in params.items() if value is not None]
    return [*lines, "", "# the same choice, made again", f"sel = hs.{selection.method}(", "    ds,", *arguments, ")"]
