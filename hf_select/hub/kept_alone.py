"""Publish from the kept rows alone, where the source is not at hand: the card says what it can't know, and makes nothing up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from hf_select.hub.facts import ConfigFacts
from hf_select.hub.losses import uneven_sentences
from hf_select.rows import RowKey
from hf_select.selection import Selection

__all__ = ["NOT_COUNTED", "kept_rows", "with_known_hours", "without_source"]

NOT_COUNTED = "What was dropped is not counted per value: this was published from the kept rows, without their source."


def kept_rows(ds: Any, selection: Selection) -> Any:
    """Return the kept rows of `ds`, which may be no more than these rows, in their order, as a folder of `prune` holds them."""
    key = RowKey(selection.source["key"]["kind"], tuple(selection.source["key"]["columns"]))
    wanted = selection.key.take(pa.array(selection.indices))
    alone = len(ds) == len(selection) < selection.num_rows
    return ds if alone and key.of(ds).equals(wanted) else selection.apply(ds)


def with_known_hours(facts: ConfigFacts, selection: Selection) -> ConfigFacts:
    """Take kept and total hours from the Selection, which counted decoded seconds, where no column has told them."""
    told = selection.facts
    if facts.kept["hours"] is not None or "total_hours" not in told:
        return facts
    kept, total = ({"hours": told[f"{name}_hours"]} for name in ("kept", "total"))
    return replace(facts, kept=facts.kept | kept, total=facts.total | total)


def without_source(facts: ConfigFacts, ds: Any, selection: Selection) -> ConfigFacts:
    """Take back what was counted as if `ds` were the whole source: totals, tables of values, speakers, what became uneven."""
    uneven = uneven_sentences(ds, np.ones(len(ds), dtype=bool), facts.tables, facts.speakers)
    return replace(
        facts,
        kept={"rows": len(selection), "hours": None},
        total={"rows": selection.num_rows, "hours": None},
        tables=[],
        speakers=None,
        limits=[NOT_COUNTED, *(sentence for sentence in facts.limits if sentence not in uneven)],
    )
