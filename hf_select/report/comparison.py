"""The picture of a comparison: what each method reaches on average over seeds, and how sure that is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hf_select.compare import paired
from hf_select.compare.cells import is_none, require
from hf_select.errors import ArgumentError
from hf_select.report.drawing import canvas, headline, save, style
from hf_select.report.markdown import shown

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Transform

__all__ = ["plot_comparison"]

# Okabe and Ito's colours, told apart with every common colour blindness; yellow is too pale on white
_LINES = (("#D55E00", "o"), ("#0072B2", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"), ("#56B4E9", "P"))
_LEVELS = (("#606060", "--"), ("#000000", ":"), ("#606060", "-."), ("#000000", "-"))
_BESIDE = 200.0  # points for all methods at all x
_APART = 14.0  # points between two methods at one x, at most
_SPREAD = 0.3  # of that, from a method's place to the outermost seed
_AWAY = 12.0  # points from the picture to the names
_MOST_TICKS = 12
_NAME = 32  # characters
Floats = NDArray[np.float64]


@dataclass
class _Set:
    """The numbers of one method: at each x those of its seeds; a level holds wherever x is."""

    name: str
    x: list[float]
    numbers: list[Floats]
    level: bool = False
    colour: str = ""
    shape: str = ""  # of the marker, or of a level's line
    aside: float = 0.0  # points, so that methods at one x are told apart
    spread: float = 0.0  # points from there to the outermost seed

    def summary(self) -> tuple[list[float], list[float]]:
        """Return means, and how far their 95 % intervals reach to both sides; NaN where there is one seed."""
        found = [paired(own.tolist(), [0.0] * len(own)) for own in self.numbers]
        return [one.mean for one in found], [one.high - one.mean for one in found]


def plot_comparison(
    cells: pd.DataFrame,
    *,
    x: str,
    y: str,
    method: str = "method",
    by: str | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw the mean of each method over x, with 95 % intervals over seeds, and every single seed as a small point.

    Reads:
        `cells`, a line per training: the columns x, y, method, `by`. Lines without a number in y are left out, and counted.

    Args:
        x: a column of numbers (rows acquired, k) or of other values, which then stand in the order of first appearance.
            A method without a value there (None, NaN or "-": the original model, all data) is a horizontal line with a
            band; so is one with a single x beyond those of the methods that have several.
        y: what is measured.
        method: the column of methods; at most 6 with several x and 4 levels.
        by: the column that says which cells of a method are seeds of one point, where x itself differs between seeds: with
            by="k" and x="rows" a point lies at the mean of the rows. None: equal x.
        path: also write the picture there; the suffix says the format.

    Returns:
        A matplotlib Figure. Methods at one x are set side by side by a few points.

    Raises:
        ColumnError: a column is missing. ArgumentError: nothing to draw, or too many methods. OutputError: `path` can't be
            written.

    Relations:
        `hf_select.compare.differences` says what is told apart: seeds are paired there, so that intervals may overlap here.

    Example:
        >>> import pandas as pd
        >>> cells = pd.DataFrame({"method": ["ours"] * 4 + ["all data"] * 2, "k": [2, 2, 3, 3, None, None]})
        >>> figure = plot_comparison(cells.assign(accuracy=[0.94, 0.95, 0.95, 0.97, 0.93, 0.94]), x="k", y="accuracy")
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['ours', 'all data']
    """
    require(cells, [x, y, method, *([by] if by else [])])
    drawn = cells[np.isfinite(cells[y].to_numpy(np.float64, na_value=np.nan))]
    if not len(drawn):
        raise ArgumentError(f"There is nothing to draw: no cell has a number in {y!r}.")
    drawn, labels = _placed(drawn, x)
    sets = _sets(drawn, x, y, method, by or x)
    _looks(sets)
    with style():
        figure, axes = canvas(7.2, 4.6)
        handles = [_level(axes, one) if one.level else _line(axes, one) for one in sets]
        _scale(axes, sets, labels)
        axes.set(xlabel=shown(x, 40), ylabel=shown(y, 40))
        headline(axes, f"{shown(y, 40)} by {shown(x, 40)}", _note(sets, len(cells) - len(drawn)))
        figure.legend(handles, [one.name for one in sets], loc="outside lower center", ncols=4)
        _name(figure, axes, sets)
        save(figure, path)
    return figure


# -- what is drawn


def _placed(cells: pd.DataFrame, x: str) -> tuple[pd.DataFrame, dict[float, str]]:
    """Return the cells with numbers in x, NaN where there is none, and the labels of values that are no numbers."""
    import pandas as pd

    none = is_none(cells[x])
    numbers = pd.to_numeric(cells[x].where(~none), errors="coerce").astype("float64")
    if np.isfinite(numbers[~none]).all():
        return cells.assign(**{x: numbers}), {}
    values = list(dict.fromkeys(cells[x][~none]))
    places = cells[x].map({value: float(place) for place, value in enumerate(values)}).astype("float64")
    return cells.assign(**{x: places}), {float(place): shown(value, _NAME) for place, value in enumerate(values)}


def _sets(cells: pd.DataFrame, x: str, y: str, method: str, by: str) -> list[_Set]:
    """Return the methods in the order of first appearance, and tell levels from lines."""
    sets = []
    for name, own in cells.groupby(method, sort=False, dropna=False):
        if own[x].isna().all():
            sets.append(_Set(shown(name, _NAME), [np.nan], [own[y].to_numpy(np.float64)], level=True))
            continue
        if own[x].isna().any():
            raise ArgumentError(
                f"Some cells of {name!r} have a value in {x!r}, and some none: give one to all or to none."
            )
        points = [(float(some[x].mean()), some[y].to_numpy(np.float64)) for _, some in own.groupby(by, dropna=False)]
        points.sort(key=lambda point: point[0])
        sets.append(_Set(shown(name, _NAME), [at for at, _ in points], [numbers for _, numbers in points]))
    span = [at for one in sets if len(one.x) > 1 for at in one.x]
    for one in sets:
        one.level |= bool(span) and len(one.x) == 1 and not min(span) <= one.x[0] <= max(span)
    return sets


def _looks(sets: list[_Set]) -> None:
    """Give every method its look, and set those at one x side by side."""
    lines, levels = ([one for one in sets if one.level == level] for level in (False, True))
    for own, room, what in (
        (lines, _LINES, "methods with several x"),
        (levels, _LEVELS, "levels, with no or a single x"),
    ):
        if len(own) > len(room):
            names = ", ".join(one.name for one in own)
            raise ArgumentError(f"There is room for {len(room)} {what}; got {len(own)}: {names}. Draw fewer at a time.")
        for one, look in zip(own, room, strict=False):
            one.colour, one.shape = look
    places = {at for one in lines for at in one.x}
    apart = min(_APART, _BESIDE / max(1, len(places) * len(lines)))
    for place, one in enumerate(lines):
        one.aside, one.spread = apart * (place - (len(lines) - 1) / 2), max(1.5, _SPREAD * apart)


def _note(sets: list[_Set], left_out: int) -> str:
    counts = sorted(len(own) for one in sets for own in one.numbers)
    seeds = counts[0] if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
    text = f"mean over {seeds} seeds with its 95 % interval; small points: single seeds"
    text = text if counts[-1] > 1 else "one seed each"
    return text + (f"; {left_out:,} cells without a number are not drawn" if left_out else "")


# -- how it is drawn


def _line(axes: Axes, one: _Set) -> Any:
    most = max(len(own) for own in one.numbers)
    for seed in range(most if most > 1 else 0):
        there = [(at, own[seed]) for at, own in zip(one.x, one.numbers, strict=True) if seed < len(own)]
        beside = _moved(axes, one.aside + one.spread * (2 * seed / (most - 1) - 1))
        dots: dict[str, Any] = {"s": 8, "color": one.colour, "alpha": 0.35, "linewidths": 0, "zorder": 2}
        axes.scatter(*zip(*there, strict=True), transform=beside, **dots)
    means, reach = one.summary()
    look: dict[str, Any] = {"color": one.colour, "marker": one.shape, "markersize": 6, "linewidth": 1.2, "zorder": 3}
    look |= {"markeredgecolor": "white", "markeredgewidth": 0.7, "elinewidth": 1.1, "capsize": 2.5, "capthick": 1.1}
    return axes.errorbar(one.x, means, reach, transform=_moved(axes, one.aside), **look)


def _level(axes: Axes, one: _Set) -> Any:
    [mean], [reach] = one.summary()
    if np.isfinite(reach):
        axes.axhspan(mean - reach, mean + reach, color=one.colour, alpha=0.1, linewidth=0, zorder=1)
    return axes.axhline(mean, color=one.colour, linestyle=one.shape, linewidth=1.3, zorder=1.5)


def _moved(axes: Axes, points: float) -> Transform:
    from matplotlib.transforms import ScaledTranslation

    return axes.transData + ScaledTranslation(points / 72, 0, axes.figure.dpi_scale_trans)


def _scale(axes: Axes, sets: list[_Set], labels: dict[float, str]) -> None:
    """Lay the axes around all points and intervals, with a tick at each x where they are few and not crowded."""
    places = sorted({at for one in sets if not one.level for at in one.x})
    width = places[-1] - places[0] if places else 0.0
    if labels:
        axes.set_xticks(list(labels), list(labels.values()))
    elif not width or (len(places) <= _MOST_TICKS and np.diff(places).min() > 0.06 * width):
        axes.set_xticks(places, [f"{place:,.10g}" for place in places])
    if places:
        axes.set_xlim(places[0] - (0.08 * width or 1.0), places[-1] + (0.08 * width or 1.0))
    ends = [mean + side * reach for one in sets for mean, reach in zip(*one.summary(), strict=True) for side in (-1, 1)]
    reached = np.concatenate([ends, *(own for one in sets for own in one.numbers)])
    low, high = np.nanmin(reached), np.nanmax(reached)
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_ylim(low - room, high + room)  # what is set aside is not scaled to by itself


# -- names


def _name(figure: Figure, axes: Axes, sets: list[_Set]) -> None:
    """Name each method to the right of the picture, at the height where it ends or near it, with a line to there."""
    ends = [(one.x[-1], one.summary()[0][-1]) for one in sets]
    across = axes.get_yaxis_transform()
    beside: dict[str, Any] = {"xytext": (_AWAY, 0), "textcoords": "offset points", "va": "center", "fontsize": 8}
    texts = [
        axes.annotate(one.name, (1, y), xycoords=across, color=_dark(one.colour), annotation_clip=False, **beside)
        for one, (_, y) in zip(sets, ends, strict=True)
    ]
    figure.draw_without_rendering()  # now the sizes are known
    unit = figure.dpi / 72
    height = max(text.get_window_extent().height for text in texts) / unit
    wanted = np.array([float(across.transform((1, y))[1]) for _, y in ends]) / unit
    slots = _spread(wanted, height, axes.bbox.y0 / unit, axes.bbox.y1 / unit)
    thin: dict[str, Any] = {"linewidth": 0.6, "alpha": 0.7, "clip_on": False, "in_layout": False, "zorder": 1.8}
    for text, one, (x, y), own, slot in zip(texts, sets, ends, wanted, slots, strict=True):
        text.set_position((_AWAY, slot - own))
        start = across.transform((1, y)) if one.level else _moved(axes, one.aside).transform((x, y))
        stop = (axes.bbox.x1 + (_AWAY - 2) * unit, slot * unit)
        (x0, y0), (x1, y1) = axes.transAxes.inverted().transform(np.array([start, stop]))
        axes.plot([x0, 1, x1], [y0, y0, y1], transform=axes.transAxes, color=one.colour, **thin)


def _spread(wanted: Floats, height: float, low: float, high: float) -> Floats:
    """Move heights to `height` apart, half as if all had to go up and half as if down, and between low and high."""
    order = np.argsort(wanted, kind="stable")
    steps = height * np.arange(len(wanted))
    bare = wanted[order] - steps
    up, down = np.maximum.accumulate(bare), np.minimum.accumulate(bare[::-1])[::-1]
    placed = np.empty(len(wanted))
    placed[order] = np.clip((up + down) / 2, low + height / 2, high - height / 2 - steps[-1]) + steps
    return placed


def _dark(colour: str) -> tuple[float, float, float]:
    """Return a colour dark enough for thin letters."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(colour)
    return 0.75 * red, 0.75 * green, 0.75 * blue
