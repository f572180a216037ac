"""What `hf-select subgroups` says and writes: a table for people, JSON, and a folder of tables and pictures."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_select.export import new_folder
from hf_select.report import plot_subgroups
from hf_select.subgroups.table import ONE_SPEAKER, Subgroups

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MARK", "Found", "choose", "describe", "record", "write"]

MARK = "subgroups.json"  # by it a folder is known as written here
FILES = ("subgroups.csv", "worst.csv", MARK, "divergence.png", "divergence.svg")
_WIDTH = 100
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
    worst = candidates[:k]
    said = [*notes, *groups.notes]
    if groups.speaker is None:
        said.append(
            "q and intervals take rows as independent; rows of one speaker are not: pass --speaker if it is known."
        )
    if len(worst) and not (worst.columns["q"] <= _MAX_Q).any():
        sure = len(groups.worst(redundancy=redundancy, max_q=_MAX_Q))
        more = f" Worse than all rows and beyond chance: {sure:,}; see them with --max-q {_MAX_Q:g}." if sure else ""
        said.append(f"None of these has q <= {_MAX_Q:g}: each may be chance.{more}")
    return Found(groups, worst, len(candidates), limits, tuple(said), (*warnings, *_one_speaker(worst)))


def describe(found: Found, out: Path | None) -> str:
    """Return the worst subgroups as text for a terminal of 100 columns."""
    groups, worst = found.groups, found.worst
    lines = [
        f"{len(groups):,} subgroups of at least {groups.min_count:,} of {groups.num_rows:,} rows; "
        f"{groups.outcome} of all rows: {groups.overall:.4g} ({groups.direction} is worse).",
        *_wrapped("", _headline(found)),
        "",
        *_table(worst),
    ]
    lines += [line for note in found.notes for line in _wrapped("note: ", note)]
    lines += [line for warning in found.warnings for line in _wrapped("warning: ", warning)]
    if out is not None:
        lines += _wrapped("", f"Written to {out}: {', '.join(FILES)}.")
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


# -- the table


def _headline(found: Found) -> str:
    limits = [f"in which every condition adds more than {found.limits['redundancy']:g}"]
    limits += [f"with q <= {found.limits['max_q']:g}"] if found.limits["max_q"] is not None else []
    limits += [f"of {found.limits['min_speakers']} speakers or more"] if found.limits["min_speakers"] else []
    asked = " and ".join(limits)
    if not found.candidates:
        return f"None of them is worse than all rows and one {asked}: ask for less, such as --redundancy 0."
    by = f"by {found.groups.speaker}" if found.groups.speaker is not None else "by rows"
    return f"The worst {len(found.worst):,} of {found.candidates:,} {asked}; q and intervals {by}."


def _table(worst: Subgroups) -> Iterator[str]:
    """Yield a line of numbers for each subgroup, and its phrase below."""
    rows = list(worst)
    if not rows:
        return
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
    if worst.speaker is not None:
        head += ["speakers", "the worst one's errors"]
        for cell, row in zip(cells, rows, strict=True):
            share = row.worst_speaker_share
            cell += [str(row.speakers), "-" if share is None else f"{share:.1%} {_cut(row.worst_speaker, 20)}"]
    widths = [max(len(cell[place]) for cell in [head, *cells]) for place in range(len(head))]
    yield _line(head, widths)
    for cell, row in zip(cells, rows, strict=True):
        yield _line(cell, widths)
        yield from textwrap.wrap(_cut(row, 400), _WIDTH, initial_indent=" " * 5, subsequent_indent=" " * 5)
    yield ""


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    parts = [
        cell.rjust(width) if place < 7 else cell for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "   ".join(parts)


def _digits(largest: float) -> int:
    """Return how many digits after the point show three of the largest divergence."""
    return int(min(max(2 - math.floor(math.log10(largest)), 0), 9)) if largest > 0 else 3


def _one_speaker(worst: Subgroups) -> list[str]:
    """Say, in one sentence, which subgroups may be about a person."""
    if worst.speaker is None:
        return []
    share = {
        number: row.worst_speaker_share
        for number, row in enumerate(worst, start=1)
        if row.worst_speaker_share is not None and (row.worst_speaker_share > ONE_SPEAKER or row.speakers == 1)
    }
    if not share:
        return []
    first, *_ = share
    where = "Subgroup" if len(share) == 1 else "Subgroups"
    numbers = ", ".join(map(str, share))
    return [
        f"{where} {numbers}: one speaker makes most of the errors ({share[first]:.1%} in {first}). This may be about a person, "
        "not about what the words say."
    ]


def _wrapped(before: str, sentence: str) -> list[str]:
    return textwrap.wrap(" ".join(sentence.split()), _WIDTH, initial_indent=before, subsequent_indent=" " * len(before))


def _cut(text: object, limit: int) -> str:
    return str(text) if len(str(text)) <= limit else str(text)[: limit - 1] + "…"


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
