"""What a subset lost: kept and total per value, and sentences that a careful user wants to read before using it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hf_select.counts import balance, kept_by_value, named_values
from hf_select.readers import read_groups, read_values
from hf_select.rows import base_column
from hf_select.selection import EXCLUDED, Selection

__all__ = [
    "FEW",
    "LARGE_SHARE",
    "MOST_VALUES",
    "count_values",
    "excluded_reasons",
    "speaker_counts",
    "uneven_sentences",
]

FEW = 5  # a cell of fewer rows could point at a person
LARGE_SHARE = 0.1  # of the kept rows from one speaker
MOST_VALUES = 40  # rows of a table; the rest is summed up
_NAMED = 6  # values that a sentence names
_SHIFT = 0.25  # of the interquartile range: a median that moved further is told
_MEASURED = ("snr_db", "duration", "words_per_second", "f0_median_hz", "audio_rms_dbfs", "audio_clipped_share")


def count_values(ds: Any, kept: NDArray[np.bool_], column: str, duration: str | None) -> dict[str, Any]:
    """Count kept and total rows and hours per value, the largest losers first; small cells are not given out.

    Values with fewer than 5 rows in the source are not named. Where 1 to 4 rows are kept, their number is None.

    Returns:
        {"column", "values": [[value, kept, total, kept_hours, total_hours]], "rest": the sums of those after the first 40,
        "hidden": {"values", "rows"}, "quarters": whether numbers were cut into quarters, "balance": [values before, after,
        balance before, after]}.
    """
    table = kept_by_value(ds, kept, column, duration)
    large = table[table["total"] >= FEW]
    tiny = int(table["total"].sum() - large["total"].sum())
    values = [[str(value), *_given(row)] for value, row in zip(large.index, large.to_dict("records"), strict=True)]
    rest = large.iloc[MOST_VALUES:]
    names = named_values(ds, column)
    known = names != "(none)"
    classes, left = set(names[known]), names[known & kept]
    before, after = balance(names[known], classes), balance(left, classes)
    return {
        "column": column,
        "values": values,
        "rest": _given(rest.sum().to_dict()) if len(rest) else None,
        "hidden": {"values": len(table) - len(large), "rows": tiny if tiny >= FEW else None},
        "quarters": _is_number(ds, column) and any(" to " in value for value, *_ in values),
        "balance": [len(classes), len(set(left)), before, after],
    }


def _given(row: Mapping[Any, Any]) -> list[Any]:
    """Return [kept, total, kept_hours, total_hours] of a value as they may be given out."""
    rows, few = int(row["kept"]), 0 < row["kept"] < FEW
    hours = float(row["kept_hours"]) if "kept_hours" in row and not few else None
    return [
        None if few else rows,
        int(row["total"]),
        hours,
        float(row["total_hours"]) if "total_hours" in row else None,
    ]


def _is_number(ds: Any, column: str) -> bool:
    kind = base_column(ds, column).type
    return not hasattr(ds.features[column], "int2str") and (pa.types.is_integer(kind) or pa.types.is_floating(kind))


def excluded_reasons(selection: Selection) -> list[list[Any]]:
    """Return [reason, rows], the most frequent first; only its code, since the details of a reason name files."""
    reasons = Counter[str]()
    for group in selection.group:
        if group is not None and group.startswith(EXCLUDED):
            reasons[group.removeprefix(EXCLUDED).partition(":")[0].strip()] += 1
    return [[reason, rows] for reason, rows in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))]


def speaker_counts(ds: Any, kept: NDArray[np.bool_], column: str) -> dict[str, Any]:
    """Say how rows are spread over speakers, naming nobody: how many there are, are left, and the largest one's share."""
    speakers = read_groups(ds, column)
    known = speakers != "(none)"
    before, after = Counter(speakers[known]), Counter(speakers[known & kept])
    most = after.most_common(1)[0][1] if after else 0
    return {
        "column": column,
        "total": len(before),
        "kept": len(after),
        "most": most / max(int(kept.sum()), 1),
        "most_before": max(before.values(), default=0) / max(len(ds), 1),
    }


def uneven_sentences(
    ds: Any, kept: NDArray[np.bool_], tables: list[dict[str, Any]], speakers: dict[str, Any] | None
) -> list[str]:
    """Return what became rarer, rowdier or one-sided, from the counts: one sentence for each fact."""
    overall = float(kept.mean()) if len(kept) else 0.0
    found = [sentence for table in tables for sentence in _of_values(table, overall)]
    if speakers:
        found += _of_speakers(speakers)
    counted = [table["column"] for table in tables]
    for column in dict.fromkeys([*(name for name in _MEASURED if name in ds.column_names), *counted]):
        found += _shift(ds, kept, column)
    return found


def _of_values(table: dict[str, Any], overall: float) -> list[str]:
    """Tell of the values that were lost, or lost more than half: of their rows, or of what an even cut would have left."""
    name, found = table["column"], []
    half = 0.5 if overall >= 0.5 else overall / 2
    lost = [value for value, rows, *_ in table["values"] if rows == 0]
    less = [value for value, rows, total, *_ in table["values"] if rows != 0 and (rows or FEW - 1) < half * total]
    if lost and overall:
        found.append(f"{_some(lost)} of {name} {_is(lost)} lost entirely: {_listed(lost)}.")
    if less and overall:
        what = "its rows" if len(less) == 1 else "their rows"
        if overall < 0.5:
            what = "what an even cut would have left"
        found.append(f"{_some(less)} of {name} lost more than half of {what}: {_listed(less)}.")
    _, _, before, after = table["balance"]
    if after < before - 0.01:
        found.append(f"The values of {name} are less balanced than in the source: {after:.3f} against {before:.3f}.")
    return found


def _of_speakers(speakers: dict[str, Any]) -> list[str]:
    found = []
    if speakers["most"] > max(LARGE_SHARE, 2 / max(speakers["kept"], 1)):
        before = speakers["most_before"]
        found.append(
            f"One speaker gives {speakers['most']:.0%} of the kept rows (the largest in the source: {before:.0%})."
        )
    gone = speakers["total"] - speakers["kept"]
    if gone:
        found.append(f"{gone:,} of {speakers['total']:,} speakers of the source have no row left.")
    return found


def _shift(ds: Any, kept: NDArray[np.bool_], column: str) -> list[str]:
    """Tell of a measured column whose median moved: noise, length or pace that was dropped with the rows."""
    if not _is_number(ds, column):
        return []
    numbers = read_values(ds, column)
    there = np.isfinite(numbers)
    if not (there & kept).any():
        return []
    low, middle, high = np.quantile(numbers[there], [0.25, 0.5, 0.75])
    now = float(np.median(numbers[there & kept]))
    if abs(now - middle) <= _SHIFT * (high - low):
        return []
    lacks = "high" if now < middle else "low"
    return [
        f"Kept rows have a median {column} of {now:.4g}, all rows {middle:.4g}: {lacks} values are under-represented."
    ]


def _some(values: list[str]) -> str:
    return "1 value" if len(values) == 1 else f"{len(values):,} values"


def _is(values: list[str]) -> str:
    return "is" if len(values) == 1 else "are"


def _listed(values: list[str]) -> str:
    cut = [value if len(value) <= 40 else value[:39] + "…" for value in values[:_NAMED]]
    more = len(values) - len(cut)
    return ", ".join(cut) + (f" and {more:,} more" if more else "")
