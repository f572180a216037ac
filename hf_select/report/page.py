"""The sections of a report: what `hub_cards/report.md.j2` prints."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hf_select.counts import balance, kept_by_value, named_values
from hf_select.errors import ArgumentError, ColumnError
from hf_select.readers import read_groups, read_seconds
from hf_select.report.correlations import cluster_correlations, outcome, strongest
from hf_select.report.figures import plot_correlations, plot_labels, plot_rows
from hf_select.report.markdown import without_paths
from hf_select.selection import EXCLUDED, Selection

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Page", "Table", "balance_row", "clusters_of", "table_of"]

_MOST_VALUES = 60  # rows of a table per value; the rest is summed up in one more
_MOST_REASONS = 30
_STRONGEST = 12
_NO_VALUE = "(none)"  # as hf_select.readers writes it


@dataclass(frozen=True)
class Table:
    """A table of a report: the first `words` columns hold words, the others numbers, flush right."""

    header: list[str]
    rows: list[list[Any]]
    words: int = 1
    note: str = ""


class Page:
    """What there is to say about a Selection, section by section; pictures go into a folder.

    Args:
        ds: the dataset that was selected from, in any order of rows.
        selection: what was kept of it.
        figures: the folder for pictures.
        duration: the column of seconds.
    """

    def __init__(self, ds: Any, selection: Selection, figures: Path, duration: str) -> None:
        self.ds, self.selection, self.figures = ds, selection, figures
        self.kept, self.eligible, self.group = outcome(ds, selection)
        self.duration: str | None = duration if duration in ds.column_names else None
        self.notes: list[str] = []  # what could not be said or drawn, and why
        self._seconds = np.zeros(0)
        try:
            if self.duration is not None:
                self._seconds = np.nan_to_num(read_seconds(ds, duration))
        except ColumnError as error:
            self.duration = None
            self.notes.append(f"Hours are left out. {error}")

    def headline(self) -> dict[str, Any]:
        """Return the figures of the first paragraph."""
        sel, rows, kept = self.selection, len(self.ds), int(self.kept.sum())
        if rows != sel.num_rows:
            self.notes.append(f"The Selection was made on {sel.num_rows:,} rows; this report counts {rows:,} of them.")
        if sel.segment_start is not None and sel.segment_end is not None:
            seconds = float((sel.segment_end - sel.segment_start).sum())
            self.notes.append(f"Of each kept row one segment is used: {seconds / 3600:,.2f} h in all.")
        hours = ""
        if self.duration:
            unit, scale = self._unit
            hours = f"{self._seconds[self.kept].sum() * scale:,.2f} of {self._seconds.sum() * scale:,.2f} {unit}"
        name = without_paths(sel.source.get("name") or "")
        share = f"{kept / rows:.1%}" if rows else "there were none"
        return {"name": name, "kept": f"{kept:,}", "total": f"{rows:,}", "share": share, "hours": hours}

    def row_pictures(self, column: str | None, *, umap: bool) -> list[dict[str, str]]:
        """Draw kept and dropped rows, and return what to show."""
        drawn = []
        for method in ("pca", "umap") if umap else ("pca",):
            if column is None:
                continue
            try:
                plot_rows(self.ds, self.selection, column, self.figures / f"rows_{method}.png", method=method)  # type: ignore[arg-type]
            except ArgumentError as error:
                self.notes.append(f"Rows are not drawn by {method.upper()}. {error}")
            else:
                drawn.append({"file": f"rows_{method}.png", "text": f"Kept and dropped rows, {method.upper()}"})
        return drawn

    def excluded(self) -> Table:
        """Count the rows that could not be chosen, by reason, with an example of what was met."""
        reasons = Counter(str(name).removeprefix(EXCLUDED) for name in self.group[~self.eligible])
        rows: dict[str, int] = Counter()
        example: dict[str, str] = {}
        for reason, count in reasons.most_common():
            code, _, detail = reason.partition(":")
            rows[code] += count
            example.setdefault(code, "" if code == "refused" else without_paths(detail.strip()))  # it names the path
        most = sorted(rows, key=lambda code: -rows[code])
        shown = [[without_paths(code), example[code], f"{rows[code]:,}"] for code in most[:_MOST_REASONS]]
        if rest := most[_MOST_REASONS:]:
            shown.append([f"{len(rest):,} more reasons", "", f"{sum(rows[code] for code in rest):,}"])
        note = f"{int((~self.eligible).sum()):,} of {len(self.ds):,} rows in all."
        return Table(["reason", "for example", "rows"], shown, words=2, note=note)

    def balance(self, columns: list[str]) -> Table:
        """Say how balanced the values of each column are, before and after."""
        rows = []
        for column in columns:
            values = named_values(self.ds, column)
            before, after = (balance_row(values, mask) for mask in (np.ones(len(values), dtype=bool), self.kept))
            numbers = [f"{before['classes']:,}", f"{after['classes']:,}"]
            rows.append([column, *numbers, f"{before['balance']:.3f}", f"{after['balance']:.3f}"])
        return Table(["column", "values", "values left", "balance before", "after"], rows)

    def kept_per(self, column: str, *, draw: bool) -> dict[str, Any]:
        """Count kept rows and hours per value, the largest losers first; draw them as bars if asked."""
        counts = kept_by_value(self.ds, self.kept, column, self.duration)
        unit, scale = self._unit
        records = counts.to_dict("records")
        rows = [[value, *_counted(row, scale)] for value, row in zip(counts.index, records, strict=True)]
        note = ""
        if len(rows) > _MOST_VALUES:
            rest = counts.iloc[_MOST_VALUES:].sum().to_dict()
            rest["kept_share"] = rest["kept"] / rest["total"]
            note = f"The {_MOST_VALUES} values of {len(rows):,} that lost the largest share."
            rows = [*rows[:_MOST_VALUES], [f"{len(rows) - _MOST_VALUES:,} more values", *_counted(rest, scale)]]
        hours = [f"{unit} kept", f"of {unit}"] if self.duration else []
        table = Table(["value", "rows kept", "of rows", "share kept", *hours], rows, note=note)
        if draw and rows:
            plot_labels(self.ds, self.selection, column, self.figures / "labels.png")
        return {"column": column, "table": table, "picture": "labels.png" if draw and rows else None}

    def clusters(self) -> dict[str, Any] | None:
        """Say what clusters correlate with; None if the Selection has no clusters."""
        group = clusters_of(self.ds, self.selection, self.eligible, self.group)
        if group is None:
            return None
        table = cluster_correlations(self.ds, self.selection)
        sizes = table.attrs["rows"]
        best = strongest(table, _STRONGEST)
        rows = [[cluster, column, f"{sizes[cluster]:,}", f"{rho:+.3f}"] for cluster, column, rho in best]
        if best:
            plot_correlations(table, self.figures / "correlations.png")
        return {
            "sentence": self._about(group, sizes, bool(best)),
            "table": Table(["cluster", "goes with", "rows", "rho"], rows, words=2),
            "picture": "correlations.png" if best else None,
            "skipped": Table(["column", "reason"], [list(item) for item in table.attrs["skipped"].items()], words=2),
        }

    def made(self) -> Table:
        """Return all parameters, facts and versions."""
        sel = self.selection
        facts = {"method": sel.method, **sel.params, "budget": sel.budget, "seed": sel.seed, "source": sel.source}
        facts |= {name: value for name, value in sel.facts.items() if name not in ("recipe", "prune")}
        if told := sel.facts.get("subgroups"):
            facts["subgroups"] = {entry["subgroup"]: f"{entry['taken']} of {entry['rows']} rows" for entry in told}
        facts |= {"seconds it took": sel.seconds, "made with": sel.versions}
        facts["report written with"] = {name: _version(name) for name in ("hf-select", "matplotlib", "scipy")}
        facts["report written with"]["python"] = platform.python_version()
        return Table(["what", "value"], [[name, without_paths(value)] for name, value in _flat(facts)], words=2)

    @property
    def _unit(self) -> tuple[str, float]:
        """The unit in which amounts of audio are given, and how much of it a second is."""
        return ("hours", 1 / 3600) if self._seconds.sum() >= 7200 else ("minutes", 1 / 60)

    def _about(self, group: NDArray[np.object_], sizes: dict[str, int], found: bool) -> str:
        number = list(sizes.values())
        shares = [float(self.kept[group == name].mean()) for name in sizes]
        kept = f"{min(shares):.0%} to {max(shares):.0%} of the rows of each are kept."
        if len(number) == 1:
            return f"All {number[0]:,} rows are in one cluster, so there is nothing that it could go with; {kept}"
        median = float(np.median(number))
        text = f"{len(number):,} clusters of {min(number):,} to {max(number):,} rows (median {median:,.0f}); {kept}"
        if not found:
            return f"{text} There is no column that they could be correlated with."
        share = median / sum(number)
        return (
            f"{text} The figures are Spearman's rank correlation between being in a cluster (0 or 1) and a column. A "
            f"cluster that holds a share p of the rows reaches sqrt(3 p (1 - p)) at most with a column without ties, "
            f"{np.sqrt(3 * share * (1 - share)):.2f} for a median one."
        )


def balance_row(values: NDArray[np.object_], mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Count rows, classes that are left, and balance in the classes of the whole; "(none)" is no class."""
    known = values != _NO_VALUE
    left = values[known & mask]
    rows = int(mask.sum())
    share = rows / len(mask) if len(mask) else 0.0
    return {"rows": rows, "kept_share": share, "classes": len(set(left)), "balance": balance(left, set(values[known]))}


def clusters_of(
    ds: Any, selection: Selection, eligible: NDArray[np.bool_], group: NDArray[np.object_]
) -> NDArray[np.object_] | None:
    """Return the cluster of each row, or None where groups are not clusters: values of `per`, or of two Selections."""
    inside = eligible & (group != None)  # noqa: E711 (an array of objects)
    per = selection.params.get("per")
    if not inside.any() or "second" in selection.params:
        return None
    if isinstance(per, str) and per in ds.column_names and (read_groups(ds, per)[inside] == group[inside]).all():
        return None
    clusters = group.copy()
    clusters[~inside] = None
    return clusters


def table_of(content: pd.DataFrame | Mapping[str, Any]) -> Table:
    """Turn a DataFrame (with its index, if that is named or made of words) or a Mapping into a table."""
    if isinstance(content, Mapping):
        return Table(["what", "value"], [[name, value] for name, value in _flat(content)], words=2)
    if content.index.name is not None or content.index.inferred_type == "string":
        content = content.rename_axis(content.index.name or "what").reset_index()
    return Table([str(name) for name in content], [[_plain(v) for v in row] for row in content.to_numpy(object)])


def _counted(row: Mapping[Any, Any], scale: float) -> list[str]:
    audio = [f"{row[name] * 3600 * scale:,.2f}" for name in ("kept_hours", "total_hours") if name in row]
    return [f"{row['kept']:,.0f}", f"{row['total']:,.0f}", f"{row['kept_share']:.1%}", *audio]


def _flat(facts: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield (name, value) of nested mappings, named like `source key kind`."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name} ")
        else:
            yield f"{before}{name}", _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return f"{value:.6g}"
    return ", ".join(map(_plain, value)) if isinstance(value, (list, tuple)) else str(value)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
