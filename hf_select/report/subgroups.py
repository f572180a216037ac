"""The picture of subgroups: how far each lies from the mean of all rows, against how many rows it holds."""

from __future__ import annotations

import math
import os
import textwrap
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hf_select.errors import ArgumentError
from hf_select.report.drawing import canvas, headline, save, style
from hf_select.report.markdown import shown
from hf_select.report.naming import column

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

__all__ = ["plot_subgroups"]

_WORSE, _BETTER, _REST = "#D55E00", "#0072B2", "#B4B4B4"  # Okabe and Ito's; the rest must not catch the eye
_INK, _LINE = "#303030", "#707070"
_PAPER = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
_NAME_WIDTH, _NAME_LINES = 50, 2  # characters
_MOST_NAMES = 8
_MARGIN = 2.0  # points around a name
_FIXED = "\N{NO-BREAK SPACE}"


def plot_subgroups(
    table: pd.DataFrame,
    *,
    overall: float,
    direction: Literal["lower", "higher"],
    outcome: str,
    named: pd.DataFrame | None = None,
    name_worst: int = 8,
    max_q: float = 0.05,
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw every subgroup as a point, divergence against support, and name the worst few.

    Reads:
        `table`: a row per subgroup with the columns support (a share of the rows), divergence, q and subgroup (the
        phrase), as `Subgroups.to_pandas()` has them. Subgroups without a divergence are left out, and counted.

    Args:
        table: all subgroups. overall: the mean of all rows, which is the line at 0.
        direction: which side is bad, "lower" (correct) or "higher" (loss, WER).
        outcome: name of what is measured.
        named: those to name, worst first, such as `groups.worst(8, redundancy=0.02).to_pandas()`; None: the worst of
            `table`, many of which may be near-duplicates of each other.
        name_worst: name at most this many (0 to 8), with their numbers in `named`.
        max_q: subgroups of no larger q are coloured, by their side of the mean.
        path: also write the picture there; the suffix says the format. Points are an image in .svg and .pdf too, so that
            50,000 of them stay light.

    Returns:
        A matplotlib Figure.

    Raises:
        ArgumentError: nothing to draw, or `direction` is neither. OutputError: `path` can't be written.

    Relations:
        `hs.find_subgroups` makes the table; `plot_labels` shows counts, not outcomes.

    Example:
        >>> import pandas as pd
        >>> found = {"subgroup": ["age > 60", "gender = female"], "support": [0.1, 0.5], "divergence": [-0.2, 0.01]}
        >>> figure = plot_subgroups(pd.DataFrame({**found, "q": [0.01, 0.9]}), overall=0.9, direction="lower", outcome="correct")
        >>> [text.get_text() for text in figure.axes[0].texts if "age" in text.get_text()]
        ['1  age > 60']
    """
    if direction not in ("lower", "higher"):
        raise ArgumentError(f"direction= is 'lower' or 'higher', the side that is bad; got {direction!r}.")
    if not 0 <= name_worst <= _MOST_NAMES:
        raise ArgumentError(f"name_worst= is between 0 and {_MOST_NAMES}, for which there is room; got {name_worst!r}.")
    drawn = table[np.isfinite(table["divergence"].to_numpy(np.float64)) & (table["support"] > 0)]
    if not len(drawn):
        raise ArgumentError("There is nothing to draw: no subgroup has a divergence.")
    sign = -1 if direction == "lower" else 1
    if named is None:
        named = drawn.iloc[np.argsort(-sign * drawn["divergence"].to_numpy(), kind="stable")]
    worst = named[sign * named["divergence"].to_numpy(np.float64) > 0].iloc[:name_worst]
    with style():
        figure, axes = canvas(7.2, 5.2)
        _scatter(axes, drawn, sign, max_q)
        _scale(axes, drawn, sign, named=len(worst))
        axes.set(xlabel="support (share of the rows)", ylabel=f"divergence of {shown(outcome, 40)} from the mean")
        axes.axhline(0, color=_INK, linewidth=0.8, zorder=1.5)
        axes.annotate(
            f"mean of all rows: {overall:.3g}",
            (1, 0),
            xycoords=("axes fraction", "data"),
            xytext=(-2, -3 * sign),  # on the side without names
            textcoords="offset points",
            ha="right",
            va="top" if sign > 0 else "bottom",
            fontsize=8,
            color=_INK,
            bbox=_PAPER,
        )
        left_out = len(table) - len(drawn)
        note = f"; {left_out:,} without an outcome are not drawn" if left_out else ""
        headline(axes, f"Where {shown(outcome, 40)} is {direction} than on average", f"{len(drawn):,} subgroups{note}")
        _legend(figure, axes)
        _name(figure, axes, worst, drawn)
        save(figure, path)
    return figure


def _scatter(axes: Axes, table: pd.DataFrame, sign: int, max_q: float) -> None:
    """Paint those that may be chance first, so that they hide none of the others."""
    divergence = table["divergence"].to_numpy(np.float64)
    sure = table["q"].to_numpy(np.float64) <= max_q  # NaN: not
    size = float(np.clip(9_000 / len(table), 2.5, 28))
    kinds = (
        ("not significant", ~sure, _REST, "o"),
        (f"better, q ≤ {max_q:g}", sure & (sign * divergence <= 0), _BETTER, "^"),
        (f"worse, q ≤ {max_q:g}", sure & (sign * divergence > 0), _WORSE, "o"),
    )
    for name, which, colour, marker in kinds:
        text = f"{name}: {int(which.sum()):,}"
        wide = size if colour == _REST else 1.5 * size
        style: dict[str, Any] = {"s": wide, "c": colour, "marker": marker, "linewidths": 0, "alpha": 0.75}
        axes.scatter(table["support"][which], divergence[which], label=text, rasterized=True, zorder=2, **style)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=3)
    for handle in legend.legend_handles:
        handle.set(sizes=[26], alpha=1)  # type: ignore[union-attr]


def _scale(axes: Axes, table: pd.DataFrame, sign: int, *, named: int) -> None:
    """Lay the axes: shares from the rarest subgroup to all rows, and room for names on the bad side."""
    from matplotlib.ticker import FuncFormatter

    low = float(table["support"].min()) / 1.08
    steps = (1, 2, 3, 5) if low > 0.01 else (1, 3) if low > 1e-4 else (1,)
    ticks = [step * 10.0**power for power in range(math.floor(math.log10(low)), 1) for step in steps]
    axes.set(xscale="log", xlim=(low, 1.0))
    axes.set_xticks([tick for tick in ticks if low <= tick <= 1])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g} %"))
    axes.minorticks_off()
    divergence = table["divergence"].to_numpy(np.float64)
    bad, good = (float(1.06 * max(0.0, (side * divergence).max())) for side in (sign, -sign))
    share = 0.08 * named  # of the height that names on the bad side need
    bad = max(bad, good * share / (1 - share)) if bad or good else 0.1
    axes.set_ylim(*((-bad, good) if sign < 0 else (-good, bad)))


# -- names


def _name(figure: Figure, axes: Axes, worst: pd.DataFrame, drawn: pd.DataFrame) -> None:
    """Name subgroups where there is room, each with a line to its point."""
    if not len(worst):
        return
    places = worst[["support", "divergence"]].to_numpy(np.float64)
    axes.scatter(places[:, 0], places[:, 1], s=26, facecolors="none", edgecolors=_INK, linewidths=0.8, zorder=5)
    texts = [_label(axes, number, phrase) for number, phrase in enumerate(worst["subgroup"], start=1)]
    figure.draw_without_rendering()  # now the sizes are known
    unit = figure.dpi / 72
    boxes = np.array([text.get_window_extent().size for text in texts])
    width, height = (float(longest) / unit for longest in boxes.max(axis=0))
    points = axes.transData.transform(places) / unit
    cloud = axes.transData.transform(drawn[["support", "divergence"]].to_numpy(np.float64)) / unit
    low, high = np.array(axes.bbox.extents).reshape(2, 2) / unit
    mean = float(axes.transData.transform((1, 0))[1]) / unit
    if len(worst) * (height + 2 * _MARGIN) < abs((low if points[0, 1] < mean else high)[1] - mean):
        (high if points[0, 1] < mean else low)[1] = mean  # there is room on their own side
    corners, ends = column(points, cloud, (width + 2 * _MARGIN, height + 2 * _MARGIN), low, high)
    back = axes.transData.inverted()
    for text, corner, box, end, start in zip(texts, corners, boxes, ends, places, strict=True):
        text.set_position(back.transform((corner + _MARGIN) * unit + (0, (height * unit - box[1]) / 2)).tolist())
        nearer = min(end[0], corner[0] + box[0] / unit + 2 * _MARGIN)  # a shorter name ends before its column does
        x, y = back.transform((nearer * unit, end[1] * unit))
        axes.plot([start[0], x], [start[1], y], color=_LINE, linewidth=0.5, zorder=2.8)


def _label(axes: Axes, number: int, phrase: object) -> Text:
    text = shown(phrase)
    if '"' not in text:  # then no name or value can hold these signs
        parts = [part.replace("<=", "≤").replace(" ", _FIXED) for part in text.split(" and ")]
        text = ", ".join(parts)  # broken between conditions only
    lines = textwrap.wrap(text, _NAME_WIDTH, max_lines=_NAME_LINES, placeholder=" …")
    look: dict[str, Any] = {"fontsize": 7, "color": _INK, "va": "bottom", "linespacing": 1.1, "bbox": _PAPER}
    indent = "\n" + "  " * (len(str(number)) + 1)  # a digit is as wide as two blanks
    text = f"{number}  " + indent.join(lines).replace(_FIXED, " ")
    return axes.text(1, 0, text, zorder=4, in_layout=False, **look)
