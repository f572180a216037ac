"""What `hf-select subgroups` says and writes: a table for people, JSON, and a folder of tables and pictures."""

from __future__ import annotations

import math
import re
import warnings as heard
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_select.export import new_folder
from hf_select.report import plot_subgroups
from hf_select.subgroups.table import Subgroups
from hf_select.subgroups.text import headline, one_speaker, table_lines, wrapped

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MARK", "Found", "choose", "describe", "record", "write"]

MARK = "subgroups.json"  # by it a folder is known as written here
FILES = ("subgroups.csv", "worst.csv", MARK, "divergence.png", "divergence.svg")
_NAMED = 8
_MAX_Q = 0.05  # as the picture has it
_FORMULA = re.compile(r"\s*[=+\-@|%\uff1d\uff0b\uff0d\uff20]")


@dataclass(frozen=True)
class Found:
    """All subgroups, and the worst of them.

    Attributes:
        groups: all. worst: what is printed. candidates: how many it was taken from.
        limits: what the candidates had to meet, by name. notes, warnings: sentences for people.
    """

    groups: Subgroups
    worst: Subgroups
    candidates: int
    limits: dict[str, Any]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def choose(
    groups: Subgroups,
    k: int,
    *,
    redundancy: float | None = None,
    max_q: float | None = None,
    min_speakers: int | None = None,
    notes: Sequence[str] = (),
    warnings: Sequence[str] = (),
) -> Found:
    """Take the k worst; without `redundancy` each condition must add more than a twentieth of the largest divergence."""
    if redundancy is None:
        largest = abs(float(groups[0].divergence)) if len(groups) else 0.0
        redundancy = float(f"{largest / 20:.2g}") if math.isfinite(largest) else 0.0
    candidates = groups.worst(redundancy=redundancy, max_q=max_q, min_speakers=min_speakers)
    limits = {"redundancy": redundancy, "max_q": max_q, "min_speakers": min_speakers}
    with heard.catch_warnings():
        heard.simplefilter("ignore", UserWarning)  # fewer than asked for: the table says how many there are
        worst = candidates.worst(k, distinct=True)
    said = [*notes, *groups.notes]
    if groups.speaker is None:
        said.append(
            "q and intervals take rows as independent; rows of one speaker are not: pass --speaker if it is known."
        )
    if len(worst) and not (worst.columns["q"] <= _MAX_Q).any():
        sure = len(groups.worst(redundancy=redundancy, max_q=_MAX_Q))
        more = f" Worse than all rows and beyond chance: {sure:,}; see them with --max-q {_MAX_Q:g}." if sure else ""
        said.append(f"None of these has q <= {_MAX_Q:g}: each may be chance.{more}")
    return Found(groups, worst, len(candidates), limits, tuple(said), (*warnings, *one_speaker(worst)))


def describe(found: Found, out: Path | None) -> str:
    """Return the worst subgroups as text for a terminal of 100 columns."""
    groups, worst = found.groups, found.worst
    lines = [
        headline(groups),
        *wrapped("", _limits(found)),
        "",
        *table_lines(worst),
    ]
    lines += [line for note in found.notes for line in wrapped("note: ", note)]
    lines += [line for warning in found.warnings for line in wrapped("warning: ", warning)]
    if out is not None:
        lines += wrapped("", f"Written to {out}: {', '.join(FILES)}.")
    return "\n".join(lines)


def record(found: Found) -> dict[str, Any]:
    """Return what was found as plain values for JSON."""
    groups = found.groups
    return {
        "outcome": groups.outcome,
        "overall": groups.overall,
        "direction": groups.direction,
        "rows": groups.num_rows,
        "min_count": groups.min_count,
        "subgroups": len(groups),
        "by": [attribute.name for attribute in groups.attributes],
        "speaker": groups.speaker,
        **found.limits,
        "candidates": found.candidates,
        "worst": [
            {**{name: _plain(value) for name, value in row.items()}, "pattern": group.pattern}
            for row, group in zip(found.worst.to_pandas().to_dict("records"), found.worst, strict=True)
        ],
        "notes": list(found.notes),
        "warnings": list(found.warnings),
    }


def write(found: Found, out: Path, *, overwrite: bool) -> None:
    """Write the tables and the picture into a folder, whole or not at all."""
    groups, table, worst = found.groups, found.groups.to_pandas(), found.worst.to_pandas()
    with new_folder(out, overwrite=overwrite, mark=MARK) as folder:
        _inert(table).to_csv(folder / "subgroups.csv", index=False)
        _inert(worst).to_csv(folder / "worst.csv", index=False)
        groups.save(folder / MARK)
        for suffix in ("png", "svg"):
            plot_subgroups(
                table,
                overall=groups.overall,
                direction=groups.direction,  # type: ignore[arg-type]
                outcome=groups.outcome,
                named=worst,
                name_worst=_NAMED,
                path=folder / f"divergence.{suffix}",
            )


# -- the text


def _limits(found: Found) -> str:
    limits = [f"in which every condition adds more than {found.limits['redundancy']:g}"]
    limits += [f"with q <= {found.limits['max_q']:g}"] if found.limits["max_q"] is not None else []
    limits += [f"of {found.limits['min_speakers']} speakers or more"] if found.limits["min_speakers"] else []
    asked = " and ".join(limits)
    if not found.candidates:
        return f"None of them is worse than all rows and one {asked}: ask for less, such as --redundancy 0."
    by = f"by {found.groups.speaker}" if found.groups.speaker is not None else "by rows"
    return (
        f"The worst {len(found.worst):,} of {found.candidates:,} {asked}, each set of rows once; q and intervals {by}."
    )


# -- values


def _inert(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with texts that no spreadsheet takes for a formula."""
    texts = [name for name in ("subgroup", "worst_speaker") if name in table]
    return table.assign(**{name: [_text(value) for value in table[name]] for name in texts})


def _text(value: object) -> object:
    if not isinstance(value, str):
        return value
    line = "".join(c if c.isprintable() else " " for c in value)  # a bare carriage return would begin a row
    return f"'{line}" if _FORMULA.match(line) else line


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and math.isnan(value) else value
