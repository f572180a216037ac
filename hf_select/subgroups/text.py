"""A table of subgroups as text for people."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hf_select.subgroups.subgroup import Subgroup
    from hf_select.subgroups.table import Subgroups

__all__ = ["describe"]

_WIDEST = 72  # of a phrase


def describe(groups: Subgroups, rows: int = 10) -> str:
    """Write the first rows of a table, what it is about, its notes and warnings."""
    bad = {"lower": "lower is worse", "higher": "higher is worse"}[groups.direction]
    title = (
        f"{len(groups):,} subgroups of at least {groups.min_count:,} of {groups.num_rows:,} rows; "
        f"{groups.outcome} of all rows {groups.overall:.4f} ({bad})"
    )
    shown = groups[:rows]
    lines = [title, *_table(groups, list(shown))]
    if len(groups) > len(shown):
        lines.append(f"... and {len(groups) - len(shown):,} more")
    lines += [f"note: {note}" for note in groups.notes]
    lines += [f"warning: {warning}" for warning in groups.warnings]
    return "\n".join(lines)


def _table(groups: Subgroups, shown: list[Subgroup]) -> list[str]:
    if not shown:
        return []
    head = ["subgroup", "rows", "mean", "95 % interval", "divergence", "q"]
    cells = [
        [_cut(str(g)), f"{g.count:,}", _3(g.mean), f"{_3(g.low)} to {_3(g.high)}", f"{g.divergence:+.3f}", _q(g.q)]
        for g in shown
    ]
    if groups.speaker is not None:
        head += ["speakers", "worst speaker's errors"]
        for row, g in zip(cells, shown, strict=True):
            share = g.worst_speaker_share
            row += [str(g.speakers), "-" if share is None else f"{share:.1%}"]
    widths = [max(len(row[i]) for row in [head, *cells]) for i in range(len(head))]
    return [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in [head, *cells]
    ]


def _3(number: float) -> str:
    return "-" if math.isnan(number) else f"{number:.3f}"


def _q(number: float) -> str:
    return "-" if math.isnan(number) else "<.001" if number < 0.001 else f"{number:.3f}"


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"
