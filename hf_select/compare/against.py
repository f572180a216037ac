"""One method against every other, seed by seed: what is told apart, and what of it survives so many comparisons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hf_select.compare.cells import groups, is_none, one_a_seed, require, said, signs
from hf_select.compare.pairs import Paired, holm, paired
from hf_select.compare.tables import to_markdown, told_apart
from hf_select.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["differences", "differences_to_markdown"]

_CHANCE = 0.05
_NOT_APART = Paired(0.0, 0.0, 0, math.inf).verdict()


def differences(
    cells: pd.DataFrame,
    *,
    ours: str,
    others: Sequence[str] | None = None,
    by: Sequence[str],
    measures: Mapping[str, int],
    method: str = "method",
) -> pd.DataFrame:
    """Compare one method with every other, seed by seed, among the cells that agree in the columns `by`.

    Only seeds for which both sides have a number are paired. A set without a value of a column of `by` (None, NaN or "-":
    the original model, or all data, which know no k) is compared with every value of it.

    Reads:
        `cells`, a line per training: the columns `method`, `seed`, `by`, and numbers.

    Args:
        ours: the method that is compared.
        others: the methods that it is compared with; None takes all others.
        by: the columns in which cells have to agree, such as ["k"]; [] where there are none.
        measures: the columns to compare: 1 where more is better, -1 where less is.
        method: the column of methods.

    Returns:
        A table with a line per comparison: `by`, against, measure, mean (of ours minus the other), error (standard), low and
        high (95 % interval), pairs, verdict ("better", "worse" or "not told apart": see `paired`), p (paired t-test),
        p_holm (adjusted for all comparisons in this table: see `holm`) and verdict_holm, the verdict where p_holm is below
        0.05. Numbers are NaN where pairs are too few for them: mean 1, the rest 2.

    Raises:
        ColumnError: a column is missing. ArgumentError: a method has no cells, or two of one seed; a wrong sign; nothing that
            agrees in `by`.

    Relations:
        `differences_to_markdown` writes it; `compare_sets` holds all methods against one control.

    Example:
        >>> import pandas as pd
        >>> cells = pd.DataFrame({"method": ["ours"] * 3 + ["random"] * 3, "k": 2, "seed": [0, 1, 2] * 2})
        >>> cells["loss"] = [1.0, 1.1, 1.0, 1.2, 1.4, 1.2]
        >>> table = differences(cells, ours="ours", by=["k"], measures={"loss": -1})
        >>> print(differences_to_markdown(table, "ours"))
        ours minus each other method, seed by seed, with the 95 % interval of the mean:
        <BLANKLINE>
        | k | against | pairs | loss |
        |--:|---|--:|--:|
        | 2 | random | 3 | -0.233 [-0.377, -0.090], **better** |
        <BLANKLINE>
        1 of 1 comparisons are told apart; by chance alone 0.1 would be. After Holm's correction for all of them 1 is left (bold).
    """
    import pandas as pd

    signs(measures)
    require(cells, [method, "seed", *by, *measures])
    cells = said(cells, by)
    known = list(dict.fromkeys(cells[method]))
    others = [name for name in known if name != ours] if others is None else list(others)
    for name in (ours, *others):
        if name not in known:
            raise ArgumentError(f"No cell is of the method {name!r}; there are {', '.join(map(str, known))}.")
    lines = []
    for key, own in groups(cells[cells[method] == ours], by):
        left = one_a_seed(own, _title(ours, key))
        for other in others:
            there = _counterpart(cells[cells[method] == other], key)
            right = one_a_seed(there, _title(other, key))
            for measure, sign in measures.items() if len(there) else ():
                lines.append(
                    {**key, "against": other, "measure": measure, **_line(left[measure], right[measure], sign)}
                )
    if not lines:
        raise ArgumentError(f"No other method agrees with {ours!r} in {', '.join(by)}: there is nothing to compare.")
    table = pd.DataFrame(lines)
    table["p_holm"] = holm(table["p"])
    table["verdict_holm"] = table["verdict"].where(table["p_holm"] < _CHANCE, _NOT_APART)
    return table


def differences_to_markdown(table: pd.DataFrame, ours: str, *, digits: int | Mapping[str, int] = 3) -> str:
    """Write differences in words: a line per other method, a column per measure, and how many chance alone would give.

    Args:
        table: what `differences` returns. ours: the name of the method there.
        digits: to show, for all measures or for each.

    Returns:
        Markdown. What survives Holm's correction is bold.
    """
    by = list(table.columns[: table.columns.get_loc("against")])
    lines: list[dict[str, Any]] = []
    for key, own in groups(table, [*by, "against"]):
        few, many = own["pairs"].min(), own["pairs"].max()
        line = {**key, "pairs": str(few) if few == many else f"{few} to {many}"}
        for found in own.to_dict("records"):
            shown = digits if isinstance(digits, int) else digits.get(found["measure"], 3)
            line[found["measure"]] = _in_words(found, shown)
        lines.append(line)
    tested = int(table["p"].notna().sum())
    told, left = (int((table[name] != _NOT_APART).sum()) for name in ("verdict", "verdict_holm"))
    text = (
        f"{told_apart(told, tested)} After Holm's correction for all of them {left} {'is' if left == 1 else 'are'} left"
    )
    text += " (bold)." if left else "."
    if untested := len(table) - tested:
        text += f" {untested} more can't be tested: they have fewer than two pairs."
    title = f"{ours} minus each other method, seed by seed, with the 95 % interval of the mean:"
    return "\n\n".join([title, to_markdown(lines), text])


def _counterpart(cells: pd.DataFrame, key: Mapping[str, Any]) -> pd.DataFrame:
    """Return the cells that agree with a key; those without a value where none has the same."""
    for name, value in key.items():
        same = cells[name] == value
        cells = cells[same if same.any() else is_none(cells[name])]
    return cells


def _line(left: pd.Series, right: pd.Series, sign: int) -> dict[str, Any]:
    left, right = left.dropna(), right.dropna()
    seeds = left.index.intersection(right.index)
    found = Paired(math.nan, math.nan, 0, math.inf)
    if len(seeds):
        found = paired(left.loc[seeds].tolist(), right.loc[seeds].tolist())
    numbers = {"mean": found.mean, "error": found.error, "low": found.low, "high": found.high, "pairs": found.pairs}
    return {**numbers, "verdict": found.verdict(sign), "p": found.p}


def _in_words(found: Mapping[str, Any], digits: int) -> str:
    if not found["pairs"]:
        return "-"
    mean, low, high = (f"{round(found[name], digits) + 0.0:+.{digits}f}" for name in ("mean", "low", "high"))
    interval = f" [{low}, {high}]" if found["pairs"] > 1 else ""
    verdict = found["verdict"] if found["verdict_holm"] == _NOT_APART else f"**{found['verdict']}**"
    return f"{mean}{interval}, {verdict}"


def _title(method: str, key: Mapping[str, Any]) -> str:
    return " ".join([repr(method), *(f"at {name} {value}" for name, value in key.items())])
