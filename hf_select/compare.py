"""Compare what was trained in many cells: records that survive a crash, and differences that are told from chance.

A cell is one training: a set of rows, a network, a seed. Its record is a line of JSON under a name that is a digest of
all that made it, so that a finished cell is never run again and a changed one never mistaken for it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_select.errors import ArgumentError, OutputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Paired",
    "Records",
    "compare_sets",
    "name_of",
    "paired",
    "scaling_exponent",
    "scaling_exponents",
    "to_markdown",
]


def name_of(*things: Any) -> str:
    """Return 16 hex digits that depend on all of these arrays and JSON values.

    >>> name_of({"seed": 1}, np.arange(3)) == name_of({"seed": 1}, np.arange(3)) != name_of({"seed": 2}, np.arange(3))
    True
    """
    sha = hashlib.sha256()
    for thing in things:
        if isinstance(thing, np.ndarray):
            sha.update(f"{thing.dtype.str}{thing.shape}".encode())
            sha.update(np.ascontiguousarray(thing).data)
        else:
            sha.update(json.dumps(thing, sort_keys=True).encode())
    return sha.hexdigest()[:16]


class Records(Mapping[str, dict[str, Any]]):
    """Finished cells by their names, kept in `records*.jsonl` of a folder: a file for each process that writes.

    Args:
        folder: where they are kept; it is made if need be.
        rank: which process this is.

    Raises:
        OutputError: the folder can't be written to or read.
    """

    def __init__(self, folder: str | os.PathLike[str], rank: int = 0) -> None:
        self.folder = Path(folder)
        self.path = self.folder / (f"records-{rank}.jsonl" if rank else "records.jsonl")
        self._found: dict[str, dict[str, Any]] = {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(self.folder.glob("records*.jsonl")):
                for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                    self._read(line)
        except OSError as error:
            raise OutputError(f"The records in {folder} can't be read: {error}.") from error

    def keep(self, name: str, record: Mapping[str, Any]) -> None:
        """Write a record down, on disk before this returns."""
        line = json.dumps({"name": name, **record}).encode()
        try:
            with self.path.open("ab") as file:
                file.write((b"\n" if self._torn() else b"") + line + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"A record can't be written to {self.path}: {error}.") from error
        self._read(line.decode())

    def _torn(self) -> bool:
        """Say whether the last line was cut off by a crash."""
        with self.path.open("rb") as file:
            if not file.seek(0, os.SEEK_END):
                return False
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"

    def _read(self, line: str) -> None:
        try:
            record = json.loads(line)
            self._found[record.pop("name")] = record
        except (ValueError, KeyError, AttributeError):
            return  # cut off by a crash: that cell is run again

    def __getitem__(self, name: str) -> dict[str, Any]:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


@dataclass(frozen=True)
class Paired:
    """The difference between two sets of numbers that belong together seed by seed.

    Attributes:
        mean: of first minus second. error: its standard error (NaN with one pair). pairs: how many.
        limit: how far from 0 the mean may be by chance; see `paired`.
    """

    mean: float
    error: float
    pairs: int
    limit: float

    @property
    def is_clear(self) -> bool:
        """Say whether the mean is farther from 0 than chance explains."""
        return abs(self.mean) > self.limit

    def verdict(self, sign: int = 1) -> str:
        """Return "better", "worse" or "not told apart"; `sign` is 1 where more is better, -1 where less is."""
        if not self.is_clear:
            return "not told apart"
        return "better" if sign * self.mean > 0 else "worse"

    def __str__(self) -> str:
        mean = f"{round(self.mean, 3) + 0.0:+.3f}"  # no -0.000
        return f"{mean} ± {self.error:.3f}" if self.pairs > 1 else mean


def paired(first: Sequence[float], second: Sequence[float]) -> Paired:
    """Compare numbers seed by seed.

    The limit is two standard errors, or Student's two-sided 95 % limit where that is wider: with 3 seeds 4.3 standard
    errors, with 5 seeds 2.8, from 60 on 2. Over many comparisons one in twenty passes it by chance.

    Example:
        >>> print(paired([0.81, 0.83, 0.82], [0.80, 0.80, 0.82]), paired([0.81, 0.83, 0.82], [0.80, 0.80, 0.82]).is_clear)
        +0.013 ± 0.009 False
    """
    from scipy.stats import t

    if len(first) != len(second) or not len(first):
        raise ArgumentError(f"Pairs need as many numbers on both sides; got {len(first)} and {len(second)}.")
    apart = np.subtract(first, second)
    count = len(apart)
    if count < 2:
        return Paired(float(apart.mean()), math.nan, 1, math.inf)
    error = float(apart.std(ddof=1) / math.sqrt(count))
    return Paired(float(apart.mean()), error, count, max(2.0, float(t.ppf(0.975, count - 1))) * error)


def scaling_exponent(rows: Sequence[float], loss: Sequence[float]) -> float:
    """Return nu of loss = a / rows^nu: the slope of a straight line in log(loss) over log(rows), with the opposite sign.

    Reference: Bergsma et al., Cluster-based pruning techniques for audio data, section 4.2.

    >>> round(scaling_exponent([100, 200, 400], [1.0, 0.5, 0.25]), 6)
    1.0
    """
    if len(set(rows)) < 2 or min(*rows, *loss) <= 0:
        raise ArgumentError("An exponent needs two different numbers of rows at least, and a loss above 0 for each.")
    return -float(np.polyfit(np.log(rows), np.log(loss), 1)[0])


def compare_sets(
    cells: pd.DataFrame, by: Sequence[str], *, numbers: Mapping[str, int], control: str, measures: Mapping[str, int]
) -> tuple[pd.DataFrame, str]:
    """Average over seeds, and compare every method with a control seed by seed; see `paired`.

    Reads:
        `cells`, a line per training: the columns `by`, `seed`, and numbers.

    Args:
        by: the columns that tell sets apart. The first is the method, the second a variant of it (such as an embedding);
            the control has to agree in all others.
        numbers: columns to average, and the digits to show.
        control: the method that all others are compared with.
        measures: columns of these to compare: 1 where more is better, -1 where less is.

    Returns:
        A table with a line per set: mean and deviation (`<name>`, `<name>_sd`), number of seeds, and of each measure
        `<name>_apart`, `_error`, `_limit`, `_verdict` ("" where there is no control). And its text in Markdown.

    Example:
        >>> import pandas as pd
        >>> cells = {"method": ["mine"] * 3 + ["random"] * 3, "of": "", "share": 0.5, "seed": [0, 1, 2] * 2}
        >>> cells["loss"] = [1.0, 1.1, 1.0, 1.2, 1.4, 1.2]
        >>> table, text = compare_sets(
        ...     pd.DataFrame(cells), ["method", "of", "share"], numbers={"loss": 2}, control="random", measures={"loss": -1}
        ... )
        >>> print(text)
        | method | of | share | loss |
        |---|---|--:|--:|
        | mine |  | 0.5 | 1.03 ± 0.06 |
        | random |  | 0.5 | 1.27 ± 0.12 |
        <BLANKLINE>
        | method | of | share | loss minus random |
        |---|---|--:|--:|
        | mine |  | 0.5 | -0.233 ± 0.033, better |
        <BLANKLINE>
        1 of 1 comparisons are told apart; by chance alone 0.1 would be.
    """
    import pandas as pd

    controls = cells[cells[by[0]] == control].set_index([*by[2:], "seed"])
    table, shown, apart, told = [], [], [], []
    for key, own in cells.groupby(list(by), sort=False):
        line = dict(zip(by, key, strict=True))
        there = controls.reindex([(*key[2:], seed) for seed in own["seed"]])
        means, spread = own[list(numbers)].mean(), own[list(numbers)].std(ddof=1)
        row, text, difference = {**line, "seeds": len(own)}, dict(line), dict(line)
        for name, digits in numbers.items():
            row |= {name: means[name], f"{name}_sd": spread[name]}
            deviation = f" ± {spread[name]:.{digits}f}" if name in measures and len(own) > 1 else ""
            text[name] = f"{means[name]:.{digits}f}{deviation}"
        for name, sign in measures.items():
            if key[0] != control and there[name].notna().all():
                found = paired(own[name].tolist(), there[name].tolist())
                verdict = found.verdict(sign)
                row |= {f"{name}_apart": found.mean, f"{name}_error": found.error}
                row |= {f"{name}_limit": found.limit, f"{name}_verdict": verdict}
                difference[f"{name} minus {control}"] = f"{found}, {verdict}"
                told.append(found.is_clear)
        table.append(row)
        shown.append(text)
        apart += [difference] if len(difference) > len(by) else []
    pages = [to_markdown(lines) for lines in (shown, apart) if lines]
    if told:
        pages.append(
            f"{sum(told)} of {len(told)} comparisons are told apart; by chance alone {len(told) / 20:.1f} would be."
        )
    return pd.DataFrame(table), "\n\n".join(pages)


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


def to_markdown(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return lines that have the same keys as a table, numbers to the right.

    >>> print(to_markdown([{"set": "all", "rows": "12"}]))
    | set | rows |
    |---|--:|
    | all | 12 |
    """
    keys = list(lines[0])
    body = [[str(line.get(key, "")).replace("|", "\\|") for key in keys] for line in lines]
    marks = [
        "--:" if all(row[place][:1] in set("0123456789-+") for row in body) else "---" for place in range(len(keys))
    ]
    rows = [f"| {' | '.join(row)} |" for row in (keys, *body)]
    return "\n".join([rows[0], f"|{'|'.join(marks)}|", *rows[1:]])
