"""Subgroups as text for people: phrases, and tables in 100 columns."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hf_select.subgroups.attributes import Attribute

if TYPE_CHECKING:
    from hf_select.subgroups.table import Subgroups

__all__ = ["ONE_SPEAKER", "describe", "headline", "one_speaker", "phrases", "table_lines", "wrapped"]

WIDTH = 100
ONE_SPEAKER = 0.5  # a speaker who makes more of a subgroup's errors than this is warned about
_LONGEST = 400  # characters of a phrase
_TABLE = 1 << 22  # entries of a lookup table, at most


def describe(groups: Subgroups, rows: int = 10) -> str:
    """Write what a table is about, its first rows, its notes and warnings."""
    shown = groups[:rows]
    lines = [headline(groups), "", *table_lines(shown)]
    if len(groups) > len(shown):
        lines.append(f"... and {len(groups) - len(shown):,} more")
    lines += [line for note in groups.notes for line in wrapped("note: ", note)]
    lines += [line for warning in one_speaker(shown) for line in wrapped("warning: ", warning)]
    return "\n".join(lines)


def headline(groups: Subgroups) -> str:
    """Say what was measured, on how many rows."""
    return (
        f"{len(groups):,} subgroups of at least {groups.min_count:,} of {groups.num_rows:,} rows; "
        f"{groups.outcome} of all rows: {groups.overall:.4g} ({groups.direction} is worse)."
    )


def table_lines(groups: Subgroups) -> list[str]:
    """Return a line of numbers for each subgroup, and its phrase below."""
    rows = list(groups)
    if not rows:
        return []
    digits = _digits(max(abs(row.divergence) for row in rows))
    head = ["#", "rows", "mean", "95 % interval", "divergence", "q"]
    cells = [
        [
            str(number),
            f"{row.count:,}",
            f"{row.mean:.{digits}f}",
            f"{row.low:.{digits}f} to {row.high:.{digits}f}" if math.isfinite(row.low) else "-",
            f"{row.divergence:+.{digits}f}",
            "-" if math.isnan(row.q) else "<.001" if row.q < 0.001 else f"{row.q:.3f}",
        ]
        for number, row in enumerate(rows, start=1)
    ]
    if groups.speaker is not None:
        head += ["speakers", "the worst one's errors"]
        for cell, row in zip(cells, rows, strict=True):
            share = row.worst_speaker_share
            cell += [str(row.speakers), "-" if share is None else f"{share:.1%} {_cut(row.worst_speaker, 20)}"]
    widths = [max(len(cell[place]) for cell in [head, *cells]) for place in range(len(head))]
    lines = [_line(head, widths)]
    for cell, row in zip(cells, rows, strict=True):
        lines.append(_line(cell, widths))
        lines += textwrap.wrap(_cut(row, _LONGEST), WIDTH, initial_indent=" " * 5, subsequent_indent=" " * 5)
    return [*lines, ""]


def one_speaker(groups: Subgroups) -> list[str]:
    """Say, in one sentence, which subgroups may be about a person."""
    if groups.speaker is None:
        return []
    shares = {
        number: row.worst_speaker_share
        for number, row in enumerate(groups, start=1)
        if row.worst_speaker_share is not None and (row.worst_speaker_share > ONE_SPEAKER or row.speakers == 1)
    }
    if not shares:
        return []
    first, *_ = shares
    where = "Subgroup" if len(shares) == 1 else "Subgroups"
    return [
        f"{where} {', '.join(map(str, shares))}: one speaker makes most of the errors ({shares[first]:.1%} in {first}). "
        "This may be about a person, not about what the words say."
    ]


def wrapped(before: str, sentence: str) -> list[str]:
    """Break a sentence into lines that are indented below its first word."""
    return textwrap.wrap(" ".join(sentence.split()), WIDTH, initial_indent=before, subsequent_indent=" " * len(before))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    parts = [
        cell.rjust(width) if place < 7 else cell for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "   ".join(parts)


def _digits(largest: float) -> int:
    """Return how many digits after the point show three of the largest divergence."""
    return int(min(max(2 - math.floor(math.log10(largest)), 0), 9)) if largest > 0 else 3


def _cut(text: object, limit: int) -> str:
    return str(text) if len(str(text)) <= limit else str(text)[: limit - 1] + "…"


def phrases(attributes: Sequence[Attribute], codes: NDArray[np.int32]) -> pa.Array:
    """Return the phrases of many subgroups (rows of `codes`); each half of one is written once for all that share it."""
    middle = (len(attributes) + 1) // 2
    halves = _halves(attributes[:middle], codes[:, :middle]), _halves(attributes[middle:], codes[:, middle:])
    return pc.binary_join_element_wise(*halves, " and ", null_handling="skip")


def _halves(attributes: Sequence[Attribute], codes: NDArray[np.int32]) -> pa.Array:
    kinds, places = _different(codes, [len(attribute.values) + 1 for attribute in attributes])
    used = [np.unique(column[column >= 0]).tolist() for column in kinds.T]
    names = [
        {code: str(attribute.condition(code)) for code in own} for attribute, own in zip(attributes, used, strict=True)
    ]
    texts = [
        " and ".join(name[code] for name, code in zip(names, kind, strict=True) if code >= 0) or None
        for kind in kinds.tolist()
    ]
    return pa.array(texts, pa.string()).take(pa.array(places))


def _different(codes: NDArray[np.int32], sizes: list[int]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return (the different rows of a matrix of codes, which of them each row is); -1 is a code too."""
    keys, largest = np.zeros(len(codes), dtype=np.int64), 1
    for column, size in zip(codes.T, sizes, strict=True):
        if largest * size > _TABLE:
            keys, largest = np.unique(keys, return_inverse=True)[1], len(codes)
        keys, largest = keys * size + column + 1, largest * size
    if largest > _TABLE:
        _, rows, places = np.unique(keys, return_index=True, return_inverse=True)
        return codes[rows], places
    first = np.full(largest, -1, dtype=np.int64)  # a table is quicker than sorting
    first[keys] = np.arange(len(codes))
    there = np.flatnonzero(first >= 0)
    number = np.empty(largest, dtype=np.int64)
    number[there] = np.arange(len(there))
    return codes[first[there]], number[keys]
