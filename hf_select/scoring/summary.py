"""What a run of `score` made, in a few lines for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from hf_select.rows import raw_column
from hf_select.scoring.work import STATUS

__all__ = ["in_words", "summarize"]


def summarize(ds: Any, columns: Sequence[str]) -> dict[str, Any]:
    """Return, for each column of numbers or truth values its mean, of vectors their size; and why rows have none.

    >>> from datasets import Dataset
    >>> summarize(Dataset.from_dict({"loss": [1.0, 3.0, None], "audio_status": ["ok", "ok", "silent: 0"]}), ["loss"])
    {'rows': 3, 'columns': {'loss': {'mean': 2.0, 'missing': 1}}, 'unusable': {'silent': 1}}
    """
    found: dict[str, Any] = {"rows": len(ds), "columns": {}}
    for name in columns:
        values = raw_column(ds, name)
        about: dict[str, Any] = {"missing": values.null_count}
        kind = values.type
        if pa.types.is_floating(kind) or pa.types.is_boolean(kind):
            numbers = values.drop_null().cast(pa.float64()).to_numpy()
            about = {"mean": round(float(np.mean(numbers)), 6) if len(numbers) else None, **about}
        elif pa.types.is_list(kind) and not pa.types.is_nested(kind.value_type):
            filled = values.slice(0, 1000).drop_null()
            about = {"size": len(filled[0]) if len(filled) else None, **about}
        found["columns"][name] = about
    status = raw_column(ds, STATUS).to_pylist()
    found["unusable"] = dict(Counter(text.split(":")[0] for text in status if text not in (None, "ok")).most_common())
    return found


def in_words(summary: dict[str, Any]) -> str:
    """Return a summary as lines of text."""
    lines = [f"{summary['rows']} rows"]
    for name, about in summary["columns"].items():
        what = (
            f"mean {about['mean']}"
            if "mean" in about
            else f"{about['size']} numbers a row"
            if "size" in about
            else "written"
        )
        lines.append(f"  {name}: {what}" + (f", {about['missing']} rows without" if about["missing"] else ""))
    if summary["unusable"]:
        lines.append(
            "  unusable clips: " + ", ".join(f"{count} {reason}" for reason, count in summary["unusable"].items())
        )
    return "\n".join(lines)
