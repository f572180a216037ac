"""Pictures of a Selection, as matplotlib Figures: no display is needed, and no global state is touched."""

from __future__ import annotations

import logging
import os
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from hf_select.counts import kept_by_value, named_values
from hf_select.errors import ArgumentError
from hf_select.readers import read_vectors
from hf_select.report.correlations import natural, outcome
from hf_select.report.drawing import canvas, headline, save, style, title
from hf_select.report.markdown import shown
from hf_select.report.projection import as_clustered, embed
from hf_select.selection import Selection

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_correlations", "plot_labels", "plot_rows"]

log = logging.getLogger("hf_select")

# Okabe and Ito's colours, told apart with every common colour blindness; yellow is too pale on white
_KEPT = "#0072B2"
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
_OTHER, _DROPPED, _PALE = "#BDBDBD", "#7A7A7A", "#E3E3E3"
_MOST_LABELS = 60


def plot_rows(
    ds: Any,
    selection: Selection,
    column: str,
    path: str | os.PathLike[str] | None = None,
    *,
    method: Literal["pca", "umap"] = "pca",
    by: str | None = None,
    centroids: bool = False,
    seed: int = 0,
    max_points: int = 20_000,
) -> Figure:
    """Draw kept rows (filled) and dropped rows (grey rings) in two dimensions.

    Reads:
        `column`: one vector per row. `by`: any column of one value per row.

    Args:
        ds: the dataset that was selected from, in any order of rows.
        selection: what was kept of it.
        column: the vectors. If the Selection was made on them, they are scaled as they were there (`standardize`,
            cosine), so that the picture shows what the method saw.
        path: also write the picture there; the suffix says the format (.png, .pdf, .svg).
        method: "pca" (a projection: distances are true up to what is projected away) or "umap" (neighbours stay
            neighbours, distances mean little; slow to import).
        by: colour the kept rows by this column: its seven most frequent values, the rest light grey.
        centroids: mark the mean of the drawn rows of each cluster.
        seed: of the sample, of UMAP, and of the order in which points are painted.
        max_points: draw at most this many rows, chosen by chance. The legend counts all.

    Returns:
        A matplotlib Figure. Its first collection holds one point per drawn row: filled if it is kept, else hollow.

    Raises:
        ColumnError: no such column, or not one of vectors. ArgumentError: nothing to draw, or too few rows for UMAP.
        OutputError: `path` can't be written. MissingPackageError: umap-learn is not installed.

    Relations:
        `plot_labels` shows the same Selection as bars.
    """
    if method not in ("pca", "umap"):
        raise ArgumentError(f"method= is 'pca' or 'umap'; got {method!r}.")
    if max_points < 1:
        raise ArgumentError(f"max_points= is at least 1; got {max_points!r}.")
    kept, eligible, group = outcome(ds, selection)
    rng = np.random.default_rng(seed)
    candidates = np.flatnonzero(eligible | kept)
    rows = rng.permutation(candidates)[:max_points]  # painted in this order: no value lies on top of all others
    vectors = read_vectors(ds.select(rows), column) if len(rows) else np.zeros((0, 1), np.float32)
    there = np.asarray(np.isfinite(vectors).all(axis=1))
    rows, vectors = rows[there], vectors[there]
    if not len(rows):
        raise ArgumentError(f"There is nothing to draw: no row that could be chosen has a vector in {column!r}.")
    points, axes_names = embed(as_clustered(vectors, selection, column), method, seed)

    names = None if by is None else named_values(ds, by)
    palette = {} if names is None else _palette(names[candidates])
    with style():
        wide, high = np.clip(np.ptp(points, axis=0), 1e-9, None)
        shape = float(np.clip(wide / high, 1.0, 1.8)) if method == "pca" else 1.2
        figure, axes = canvas(0.8 + 3.6 * shape + (1.6 if by is not None else 0), 4.6)
        _scatter(axes, points, kept[rows], None if names is None else names[rows], palette)
        if centroids:
            _mark_centres(axes, points, group[rows])
        axes.set(xlabel=axes_names[0], ylabel=axes_names[1])
        if method == "umap":
            axes.set(xticks=[], yticks=[])
        else:
            axes.set_aspect("equal", adjustable="datalim")
        without = _not_shown(len(ds) - len(candidates), len(candidates) - len(there), int((~there).sum()))
        headline(axes, title(selection, kept), without)
        others = 0 if names is None else len(set(names[candidates])) - len(palette)
        _legend(figure, int(kept.sum()), int((eligible & ~kept).sum()), palette, others, by)
        save(figure, path)
    return figure


def plot_labels(ds: Any, selection: Selection, by: str, path: str | os.PathLike[str] | None = None) -> Figure:
    """Draw a bar per label: how many of its rows were kept, in front of how many there were.

    Reads:
        `by`: any column of one value per row; numbers with more than 12 values are cut into quarters.

    Args:
        ds: the dataset that was selected from, in any order of rows.
        selection: what was kept of it.
        by: the column. Bars are sorted by rows in all, then by rows kept; 60 at most are drawn, and a note says how many
            are not.
        path: also write the picture there; the suffix says the format.

    Returns:
        A matplotlib Figure.

    Raises:
        ColumnError: no such column, or it holds lists. OutputError: `path` can't be written.
    """
    from matplotlib.ticker import MaxNLocator

    kept = selection.mask(ds)
    table = kept_by_value(ds, kept, by, None)
    if not len(table):
        raise ArgumentError("There is nothing to draw: the dataset has no rows.")
    table = table.iloc[sorted(range(len(table)), key=lambda row: natural(table.index[row]))]
    table = table.sort_values(["total", "kept"], ascending=False, kind="stable")
    drawn = table.iloc[:_MOST_LABELS]
    with style():
        figure, axes = canvas(6.4, 1.15 + 0.19 * len(drawn))
        places = np.arange(len(drawn))
        axes.barh(places, drawn["total"], height=0.72, color=_PALE, label="dropped")
        axes.barh(places, drawn["kept"], height=0.72, color=_KEPT, label="kept")
        for place, (rows, total, share) in enumerate(drawn[["kept", "total", "kept_share"]].to_numpy()):
            axes.annotate(
                f"{rows:,.0f} of {total:,.0f}  ({share:.0%})",
                (total, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
                color="#404040",
            )
        axes.set_yticks(places, [shown(name, 32) for name in drawn.index])
        axes.tick_params(axis="y", length=0)
        axes.set(xlim=(0, 1.22 * drawn["total"].max()), ylim=(len(drawn) - 0.4, -0.6), xlabel="rows")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        more = len(table) - len(drawn)
        rest = table.iloc[len(drawn) :]
        note = f"; {more:,} more with {rest['kept'].sum():,} of {rest['total'].sum():,} rows not drawn" if more else ""
        headline(axes, title(selection, kept), f"by {shown(by, 40)}: {len(table):,} values{note}")
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=2)
        save(figure, path)
    return figure


def plot_correlations(
    table: pd.DataFrame, path: str | os.PathLike[str] | None = None, *, max_clusters: int = 24, max_features: int = 16
) -> Figure:
    """Draw the strongest of `cluster_correlations` as a heat map.

    Args:
        table: what `cluster_correlations` returns.
        path: also write the picture there; the suffix says the format.
        max_clusters, max_features: draw the rows and columns with the largest |rho|, at most so many.

    Returns:
        A matplotlib Figure. Clusters stand in the order of the feature they correlate with most; cells without a value
        are grey. The colours end at the largest |rho| drawn, which is well under 1 for small clusters.

    Raises:
        ArgumentError: the table holds no value. OutputError: `path` can't be written.
    """
    size = table.abs()
    if not size.notna().any(axis=None):
        raise ArgumentError("There is nothing to draw: the table of correlations holds no value.")
    columns = size.max().sort_values(ascending=False, kind="stable").index[:max_features]
    drawn = table.loc[size.max(axis=1).sort_values(ascending=False, kind="stable").index[:max_clusters], columns]
    rho = drawn.to_numpy(dtype=np.float64)
    filled = np.nan_to_num(rho)
    peak = np.abs(filled).argmax(axis=1)
    order = np.lexsort((-filled[np.arange(len(peak)), peak], peak))
    rho, clusters = rho[order], drawn.index[order]
    with style():
        figure, axes = canvas(2.6 + 0.42 * len(columns), 1.9 + 0.24 * len(clusters))
        limit = float(np.nanmax(np.abs(rho))) or 1.0
        image = axes.pcolormesh(rho, cmap="RdBu_r", vmin=-limit, vmax=limit, edgecolors="white", linewidth=0.6)
        axes.set_facecolor("#C8C8C8")
        for (row, place), value in np.ndenumerate(rho):
            if np.isfinite(value):
                colour = "white" if abs(value) > 0.65 * limit else "#303030"
                text = f"{value:.2f}".replace("0.", ".").replace("-.00", ".00")
                axes.text(place + 0.5, row + 0.5, text, ha="center", va="center", fontsize=6.5, color=colour)
        axes.set_xticks(np.arange(len(columns)) + 0.5, [shown(name, 28) for name in columns], rotation=40, ha="right")
        axes.set_yticks(np.arange(len(clusters)) + 0.5, [shown(name, 20) for name in clusters])
        axes.tick_params(length=0)
        axes.invert_yaxis()
        for side in axes.spines.values():
            side.set_visible(False)
        axes.set_ylabel("cluster")
        drawn_of = f"{len(clusters)} of {len(table)} clusters, {len(columns)} of {table.shape[1]} features"
        headline(axes, "What clusters go with", drawn_of)
        bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02, aspect=30)
        bar.outline.set_visible(False)
        bar.set_label("Spearman's rank correlation")
        save(figure, path)
    return figure


# -- parts of the picture of rows


def _scatter(
    axes: Axes,
    points: NDArray[np.float64],
    kept: NDArray[np.bool_],
    names: NDArray[np.object_] | None,
    palette: dict[str, str],
) -> None:
    """Paint all rows in one go, in their random order, so that in a dense cloud neither kind hides the other."""
    from matplotlib.colors import to_rgba_array

    size = float(np.clip(9_000 / len(points), 1.5, 28))
    fill = np.tile(to_rgba_array(_KEPT, 0.85), (len(points), 1))
    if names is not None:
        fill = to_rgba_array([palette.get(name, _OTHER) for name in names], 0.85)
    edge = np.tile(to_rgba_array(_DROPPED), (len(points), 1))
    fill[~kept, 3], edge[kept, 3] = 0, 0
    width = float(np.clip(np.sqrt(size) / 6, 0.3, 0.6))
    style: dict[str, Any] = {"facecolors": fill, "edgecolors": edge, "linewidths": width}
    axes.scatter(points[:, 0], points[:, 1], s=size, zorder=2, rasterized=True, **style)


def _palette(names: NDArray[np.object_]) -> dict[str, str]:
    frequent = [name for name, _ in Counter(sorted(names, key=natural)).most_common(len(_COLOURS))]
    return dict(zip(sorted(frequent, key=natural), _COLOURS, strict=False))


def _mark_centres(axes: Axes, points: NDArray[np.float64], group: NDArray[np.object_]) -> None:
    centres = [points[group == name].mean(axis=0) for name in sorted({name for name in group if name is not None})]
    if centres:
        x, y = np.array(centres).T
        axes.scatter(x, y, s=34, marker="X", c="black", edgecolors="white", linewidths=0.7, zorder=4)


def _legend(figure: Figure, kept: int, dropped: int, palette: dict[str, str], others: int, by: str | None) -> None:
    from matplotlib.lines import Line2D

    def dot(label: str, fill: str, edge: str = "none") -> Line2D:
        style = {"marker": "o", "linestyle": "none", "markersize": 5.5}
        return Line2D([], [], label=label, markerfacecolor=fill, markeredgecolor=edge, **style)  # type: ignore[arg-type]

    ring = dot(f"dropped: {dropped:,}", "none", _DROPPED)
    if by is None:
        figure.legend(handles=[dot(f"kept: {kept:,}", _KEPT), ring], loc="outside lower center", ncols=2)
        return
    handles = [dot(shown(name, 28), colour) for name, colour in palette.items()]
    handles += [dot(f"{others:,} other values", _OTHER)] if others else []
    title = f"kept: {kept:,}, by\n{shown(by, 28)}"
    figure.legend(handles=[*handles, ring], title=title, loc="outside right upper", alignment="left")


def _not_shown(excluded: int, by_chance: int, without_vector: int) -> str:
    counts = {
        "that could not be chosen": excluded,
        "left out by chance": by_chance,
        "without a vector": without_vector,
    }
    parts = [f"{count:,} {why}" for why, count in counts.items() if count]
    return f"rows not shown: {', '.join(parts)}" if parts else ""
