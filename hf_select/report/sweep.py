"""The picture of a sweep over numbers of clusters."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hf_select.report.drawing import save, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_sweep"]

_SIMPLE, _HARD, _BOTH = "#0072B2", "#D55E00", "#000000"  # Okabe and Ito's
_PANELS = (  # title, label of the axis, (column, label, colour) of each line
    ("What clusters explain", "1 - inertia / inertia of one cluster", (("explained", "", _BOTH),)),
    (
        "Balance of the kept rows",
        "balance (1 = even)",
        (("balance_simple", "simple", _SIMPLE), ("balance_hard", "hard", _HARD)),
    ),
    (
        "Agreement between seeds",
        "mean over pairs of seeds",
        (
            ("rand_index", "clusters (adjusted Rand index)", _BOTH),
            ("overlap_simple", "rows kept, simple (Jaccard)", _SIMPLE),
            ("overlap_hard", "rows kept, hard (Jaccard)", _HARD),
        ),
    ),
)


def plot_sweep(
    table: pd.DataFrame,
    suggested: int,
    *,
    balance_of_all: float | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw what the number of clusters does: explained share, balance of the kept rows, agreement between seeds.

    Args:
        table: `ClusterSweep.to_pandas()`.
        suggested: a number of clusters to mark.
        balance_of_all: the balance before anything is removed, drawn as a level.
        path: also write the picture there; the suffix says the format.

    Returns:
        A matplotlib Figure with a panel for each of these that there is.

    Raises:
        OutputError: `path` can't be written.
    """
    from matplotlib.figure import Figure

    panels = [panel for panel in _PANELS if table[[name for name, *_ in panel[2]]].notna().to_numpy().any()]
    with style():
        figure = Figure(figsize=(3.4 * len(panels), 3.6), layout="constrained")
        for axes, (title, label, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for name, meaning, colour in lines:
                axes.plot(table["n_clusters"], table[name], color=colour, marker="o", markersize=3.5, label=meaning)
            if title.startswith("Balance") and balance_of_all is not None:
                axes.axhline(balance_of_all, color="#7A7A7A", linewidth=0.8, linestyle=":", label="all rows")
            _finish(axes, table, suggested, title, label)
        save(figure, path)
    return figure


def _finish(axes: Axes, table: pd.DataFrame, suggested: int, title: str, label: str) -> None:
    ticks = table["n_clusters"].tolist()
    axes.set(xscale="log", xlabel="clusters", ylabel=label)
    axes.set_title(title)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    if min(ticks) <= suggested <= max(ticks):
        axes.axvline(suggested, color="#7A7A7A", linewidth=0.8, linestyle="--")
        axes.annotate(
            f"{suggested} suggested",
            (suggested, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, -7),
            textcoords="offset points",
            fontsize=7.5,
            color="#606060",
        )
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=1)
