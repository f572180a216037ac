"""Tables in Markdown and pandas: means over seeds, and every method against one control."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hf_select.compare.cells import NONE, groups, require, said, signs
from hf_select.compare.pairs import paired
from hf_select.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["compare_sets", "mean_table", "to_markdown", "told_apart"]

Line = dict[str, Any]


def mean_table(
    cells: pd.DataFrame,
    by: Sequence[str],
    *,
    numbers: Mapping[str, int],
    measures: Mapping[str, int] | None = None,
    best_within: Sequence[str] | None = None,
) -> tuple[pd.DataFrame, str]:
    """Average over seeds: a line per set, in the order in which sets first appear in the cells.

    Reads:
        `cells`, a line per training: the columns `by` and numbers. None, NaN and "-" in `by` are no value.

    Args:
        by: the columns that tell sets apart, such as ["k", "method"].
        numbers: columns to average, and the digits to show; such as {"rows": 0, "accuracy": 3}.
        measures: columns of these that are shown with their deviation: 1 where more is better, -1 where less is.
        best_within: print the best mean of each measure bold among the sets that agree in these columns of `by`; [] takes
            all sets together, None prints nothing bold. Means that look equal are equally good. Sets without a value
            there (the original model, all data) compete with none, nor does a set that is alone.

    Returns:
        A table: `by`, seeds, and mean and deviation (divided by n - 1) of each number as `<name>` and `<name>_sd`. And its
        text in Markdown, with the seeds of each set where they are not the same for all.

    Raises:
        ColumnError: a column is missing. ArgumentError: a sign that is neither 1 nor -1, measures that are no numbers=, or
            `best_within` not in `by`.

    Relations:
        The best mean may be the best by chance: `differences` says whether it is told apart.

    Example:
        >>> import pandas as pd
        >>> cells = pd.DataFrame({"k": [None, None, 2, 2, 2, 2], "method": ["original"] * 2 + ["random"] * 2 + ["ours"] * 2})
        >>> cells = cells.assign(rows=[0, 0, 226, 226, 226, 226], accuracy=[0.91, 0.92, 0.92, 0.93, 0.96, 0.97])
        >>> numbers, measures = {"rows": 0, "accuracy": 3}, {"accuracy": 1}
        >>> print(mean_table(cells, ["k", "method"], numbers=numbers, measures=measures, best_within=["k"])[1])
        | k | method | rows | accuracy |
        |--:|---|--:|--:|
        | - | original | 0 | 0.915 ± 0.007 |
        | 2 | random | 226 | 0.925 ± 0.007 |
        | 2 | ours | 226 | **0.965** ± 0.007 |
    """
    import pandas as pd

    measures = measures or {}
    signs(measures)
    if missing := [name for name in measures if name not in numbers]:
        raise ArgumentError(f"measures= are columns of numbers=; {missing[0]!r} is not.")
    if best_within is not None and not set(best_within) <= set(by):
        raise ArgumentError(f"best_within= are columns of by= ({', '.join(by)}); got {', '.join(best_within)}.")
    table, shown = _means(cells, by, numbers, measures)
    if best_within is not None:
        for name, sign in measures.items():
            for place in _best(table, best_within, name, sign, numbers[name]):
                mean, *deviation = shown[place][name].partition(" ")
                shown[place][name] = f"**{mean}**{''.join(deviation)}"
    if len({line["seeds"] for line in table}) > 1:
        shown = [{**line, "seeds": str(full["seeds"])} for line, full in zip(shown, table, strict=True)]
    return pd.DataFrame(table), to_markdown(shown) if shown else ""


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

    Relations:
        `differences` holds one method against every other; `mean_table` has the means alone.

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

    require(cells, [*by, "seed"])
    cells = said(cells, by)
    table, shown = _means(cells, by, numbers, measures)
    controls = cells[cells[by[0]] == control]
    agree = [*by[2:], "seed"]
    places = {key: place for place, key in enumerate(controls[agree].itertuples(index=False, name=None))}
    if len(places) < len(controls):
        raise ArgumentError(f"{control!r} has two cells that agree in {', '.join(agree)}: leave one out.")
    apart, told = [], []
    for row, (line, own) in zip(table, groups(cells, by), strict=True):
        key, difference = tuple(line.values()), dict(line)
        there = [places.get((*key[2:], seed), -1) for seed in own["seed"]]
        for name, sign in measures.items():
            if key[0] != control and min(there) >= 0 and controls[name].iloc[there].notna().all():
                found = paired(own[name].tolist(), controls[name].iloc[there].tolist())
                verdict = found.verdict(sign)
                row |= {f"{name}_apart": found.mean, f"{name}_error": found.error}
                row |= {f"{name}_limit": found.limit, f"{name}_verdict": verdict}
                difference[f"{name} minus {control}"] = f"{found}, {verdict}"
                told.append(found.is_clear)
        apart += [difference] if len(difference) > len(by) else []
    pages = [to_markdown(lines) for lines in (shown, apart) if lines]
    if told:
        pages.append(told_apart(sum(told), len(told)))
    return pd.DataFrame(table), "\n\n".join(pages)


def told_apart(told: int, of: int) -> str:
    """Say how many comparisons are told apart, and how many chance alone would give at 1 of 20."""
    return f"{told} of {of} comparisons are told apart; by chance alone {of / 20:.1f} would be."


def to_markdown(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return lines that have the same keys as a table, numbers to the right.

    >>> print(to_markdown([{"set": "all", "rows": "12"}]))
    | set | rows |
    |---|--:|
    | all | 12 |
    """
    keys = list(lines[0])
    body = [[str(line.get(key, "")).replace("|", "\\|") for key in keys] for line in lines]
    signs = set("0123456789-+")  # also of a number in bold
    marks = ["--:" if all(row[place].lstrip("*")[:1] in signs for row in body) else "---" for place in range(len(keys))]
    rows = [f"| {' | '.join(row)} |" for row in (keys, *body)]
    return "\n".join([rows[0], f"|{'|'.join(marks)}|", *rows[1:]])


def _means(
    cells: pd.DataFrame, by: Sequence[str], numbers: Mapping[str, int], measures: Mapping[str, int]
) -> tuple[list[Line], list[Line]]:
    """Return a line per set in full, and as it is shown."""
    require(cells, [*by, *numbers])
    table, shown = [], []
    for key, own in groups(cells, by):
        means, spread = own[list(numbers)].mean(), own[list(numbers)].std(ddof=1)
        row, text = {**key, "seeds": len(own)}, dict(key)
        for name, digits in numbers.items():
            row |= {name: means[name], f"{name}_sd": spread[name]}
            deviation = f" ± {spread[name]:.{digits}f}" if name in measures and len(own) > 1 else ""
            text[name] = NONE if math.isnan(means[name]) else f"{means[name]:.{digits}f}{deviation}"
        table.append(row)
        shown.append(text)
    return table, shown


def _best(table: Sequence[Line], within: Sequence[str], name: str, sign: int, digits: int) -> list[int]:
    """Return the places of the best sets of each group, as far as the digits that are shown tell."""
    found: dict[tuple[Any, ...], list[tuple[float, int]]] = {}
    for place, line in enumerate(table):
        key = tuple(line[column] for column in within)
        if NONE not in key and not math.isnan(line[name]):
            found.setdefault(key, []).append((sign * round(float(line[name]), digits), place))
    rivals = [group for group in found.values() if len(group) > 1]
    return [place for group in rivals for mean, place in group if mean == max(group)[0]]
