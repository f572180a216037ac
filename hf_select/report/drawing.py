"""How every picture looks: one style, whatever the user's settings are, drawn on Figure objects without a display."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hf_select.errors import OutputError
from hf_select.report.markdown import shown
from hf_select.selection import Selection

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["canvas", "headline", "save", "style", "title"]

_STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#404040",
    "axes.linewidth": 0.8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "text.usetex": False,  # labels come from strangers: never hand them to TeX
    "text.parse_math": False,
    "figure.dpi": 110,
    "savefig.dpi": 220,
    "pdf.fonttype": 42,
    "svg.hashsalt": "hf_select",
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in one style, whatever the user's settings are, and leave those as they were."""
    import matplotlib.style

    with matplotlib.style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a box is drawn in its place
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")  # ... scripts such as Arabic
        yield


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Return an empty picture of this size in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def title(selection: Selection, kept: NDArray[np.bool_]) -> str:
    """Return the title of a picture of a Selection."""
    return f"{shown(selection.method, 48)}: {int(kept.sum()):,} of {len(kept):,} rows kept"


def headline(axes: Axes, text: str, under: str) -> None:
    """Write a title, and a smaller line under it if there is one."""
    axes.set_title(text, pad=24 if under else 10)
    place = {"xycoords": "axes fraction", "xytext": (0, 8), "textcoords": "offset points"}
    axes.annotate(under, (0, 1), fontsize=8, color="#606060", **place)  # type: ignore[arg-type]


def save(figure: Figure, path: str | os.PathLike[str] | None) -> None:
    """Write a picture in the format of its suffix; None: nothing.

    Raises:
        OutputError: it can't be written, or there is no such format.
    """
    if path is None:
        return
    target = Path(path)
    metadata = {"Software": None} if target.suffix.lower() == ".png" else None  # equal input, equal bytes
    try:
        figure.savefig(target, metadata=metadata)
    except (OSError, ValueError) as error:  # a ValueError names the formats there are
        raise OutputError(f"The picture {target.name!r} can't be written: {error}.") from error
