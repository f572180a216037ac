"""The calls that a Selection records: to run them again, or to write them down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hf_select import methods
from hf_select.selection import Selection
from hf_select.subgroups.subgroup import Subgroup

__all__ = ["SUBGROUP", "Call", "calls_of", "run_again"]

SUBGROUP = ("conditions", "divergence", "count")  # what select_subgroups depends on


@dataclass(frozen=True)
class Call:
    """One call of a method: its name, its keyword arguments as recorded, and its subgroups (`Subgroup.from_dict`)."""

    method: str
    arguments: dict[str, Any]
    subgroups: list[dict[str, Any]] | None = None

    @property
    def is_known(self) -> bool:
        """Whether the method is one of this version, with arguments that were recorded whole."""
        return self.method in methods.__all__ and all(name.isidentifier() for name in self.arguments)

    def run(self, ds: Any) -> Selection:
        """Call the method on a dataset."""
        first = [] if self.subgroups is None else [[Subgroup.from_dict(values) for values in self.subgroups]]
        made: Selection = getattr(methods, self.method)(ds, *first, **self.arguments)
        return made


def calls_of(selection: Selection) -> list[Call]:
    """Return the calls that made a Selection: one, or those that `Selection.then` joined, in order."""
    return _calls(selection.record(), selection.facts)


def run_again(selection: Selection, ds: Any) -> Selection:
    """Make a Selection again: each call on what the one before it kept."""
    first, *others = calls_of(selection)
    made = first.run(ds)
    for call in others:
        made = made.then(call.run(made.apply(ds)))
    return made


def _calls(record: Mapping[str, Any], facts: Mapping[str, Any]) -> list[Call]:
    params = record["params"]
    if " then " in record["method"]:
        return [call for part in ("first", "second") for call in _calls(params[part], facts.get(part, {}))]
    arguments = {name: value for name, value in params.items() if value is not None and name != "subgroups"}
    if record["budget"] != "all":
        arguments = {"budget": record["budget"], **arguments}
    if record["seed"] is not None:
        arguments["seed"] = record["seed"]
    if record["source"]["key"]["kind"] == "column":
        arguments["key"] = record["source"]["key"]["columns"][0]
    told = facts.get("subgroups") if "subgroups" in params else None
    return [Call(record["method"], arguments, told and [{name: one[name] for name in SUBGROUP} for one in told])]
