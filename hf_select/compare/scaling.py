"""How the loss falls with the number of rows: the exponent of a power law."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hf_select.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["scaling_exponent", "scaling_exponents"]


def scaling_exponent(rows: Sequence[float], loss: Sequence[float]) -> float:
    """Return nu of loss = a / rows^nu: the slope of a straight line in log(loss) over log(rows), with the opposite sign.

    Reference: Bergsma et al., Cluster-based pruning techniques for audio data, section 4.2.

    >>> round(scaling_exponent([100, 200, 400], [1.0, 0.5, 0.25]), 6)
    1.0
    """
    if len(set(rows)) < 2 or min(*rows, *loss) <= 0:
        raise ArgumentError("An exponent needs two different numbers of rows at least, and a loss above 0 for each.")
    return -float(np.polyfit(np.log(rows), np.log(loss), 1)[0])


def scaling_exponents(cells: pd.DataFrame, by: Sequence[str]) -> list[dict[str, str]]:
    """Fit `scaling_exponent` seed by seed, and return a line for each set with three or more numbers of rows.

    Reads:
        `cells`: the columns `by`, `seed`, `rows`, `loss`.

    Returns:
        For each set its `by`, the span of `rows`, and `nu` with the standard error over seeds, as text.
    """
    lines = []
    for key, own in cells.groupby(list(by), sort=False):
        if own["rows"].nunique() > 2:
            found = [scaling_exponent(some["rows"].tolist(), some["loss"].tolist()) for _, some in own.groupby("seed")]
            error = f" ± {np.std(found, ddof=1) / math.sqrt(len(found)):.3f}" if len(found) > 1 else ""
            span = {"rows": f"{own['rows'].min()} to {own['rows'].max()}", "nu": f"{np.mean(found):.3f}{error}"}
            lines.append({**{name: str(value) for name, value in zip(by, key, strict=True)}, **span})
    return lines
