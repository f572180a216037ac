"""Tables of subgroups on disk: one JSON file, written whole or not at all, its content checked by a digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hf_select.errors import OutputError, SelectionError
from hf_select.subgroups.attributes import Attribute
from hf_select.subgroups.conditions import Condition
from hf_select.subgroups.outcomes import OutcomeRecipe
from hf_select.subgroups.table import INTEGERS, RareSubgroup, Subgroups

__all__ = ["load", "save"]

_FORMAT = 1
_PLAIN = ("direction", "overall", "num_rows", "min_count", "min_support", "speaker")


def save(groups: Subgroups, target: Path, *, overwrite: bool) -> None:
    """Write a table; see `Subgroups.save`."""
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists already. Name another file, or pass overwrite=True.")
    body = json.dumps(_values(groups), allow_nan=False)
    part = target.with_name(target.name + ".tmp")
    try:
        part.write_text(json.dumps({"format": _FORMAT, "sha256": _digest(body)})[:-1] + f', "subgroups": {body}}}')
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(f"{target} can't be written: {error}.") from error


def load(path: Path) -> Subgroups:
    """Read a table; see `Subgroups.load`."""
    try:
        found = json.loads(path.read_text())
        if found["format"] != _FORMAT:
            raise SelectionError(f"{path} has format {found['format']}; this version of hf_select reads {_FORMAT}.")
        if found["sha256"] != _digest(json.dumps(found["subgroups"], allow_nan=False)):
            raise SelectionError(f"{path} is damaged: its checksum differs. Find the subgroups again.")
        return _groups(found["subgroups"])
    except SelectionError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SelectionError(f"{path} is no table of subgroups: {type(error).__name__}: {error}.") from error


def _values(groups: Subgroups) -> dict[str, Any]:
    columns = {
        name: [None if isinstance(value, float) and np.isnan(value) else value for value in values.tolist()]
        for name, values in groups.columns.items()
    }
    return {
        "attributes": [attribute.to_dict() for attribute in groups.attributes],
        "codes": groups.codes.tolist(),
        "columns": columns,
        "recipe": asdict(groups.recipe),
        **{name: getattr(groups, name) for name in _PLAIN},
        "speaker_names": list(groups.speaker_names),
        "rare": [{"conditions": [c.to_dict() for c in r.conditions], "count": r.count} for r in groups.rare],
        "notes": list(groups.notes),
    }


def _groups(found: dict[str, Any]) -> Subgroups:
    attributes = tuple(Attribute.from_dict(values) for values in found["attributes"])
    integers = (*INTEGERS, "worst_speaker")
    columns = {
        name: np.array(values, dtype=np.int64 if name in integers else np.float64)
        for name, values in found["columns"].items()
    }
    rare = tuple(
        RareSubgroup(tuple(Condition.from_dict(c) for c in entry["conditions"]), entry["count"])
        for entry in found["rare"]
    )
    return Subgroups(
        attributes=attributes,
        codes=np.array(found["codes"], dtype=np.int32).reshape(-1, len(attributes)),
        columns=columns,
        recipe=OutcomeRecipe(**found["recipe"]),
        **{name: found[name] for name in _PLAIN},
        speaker_names=tuple(found["speaker_names"]),
        rare=rare,
        notes=tuple(found["notes"]),
    )


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()
