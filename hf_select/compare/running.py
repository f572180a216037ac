"""Run what is missing of a list of cells, and return all that is finished as one table."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hf_select.compare.records import Records, name_of, plain
from hf_select.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["finished", "run_cells", "timed"]

Cell = Mapping[str, Any]
Names = Callable[[Any], str]


def run_cells(
    cells: Sequence[Cell],
    work: Callable[[dict[str, Any]], Mapping[str, Any]],
    records: Records,
    *,
    name: Names = name_of,
    share: tuple[int, int] = (0, 1),
    on_done: Callable[[int, int, dict[str, Any]], object] | None = None,
) -> pd.DataFrame:
    """Run the cells that have no record yet, one by one, and return all finished ones as a table.

    Each record is on disk before the next cell starts: stop whenever you like, at the price of one cell, and call again.

    Args:
        cells: a dict of JSON values each, such as {"method": "random", "k": 2, "seed": 0}. Put seeds outermost, so that
            what is finished early can be compared.
        work: gets a cell (a copy), returns its numbers under names that the cell doesn't have.
        records: where they are kept; of several processes each has its own, `Records(folder, rank)`.
        name: what a cell's record is found by; it has to depend on all that changes the numbers. The default is a digest
            of the cell alone: put settings and data into it with `lambda cell: name_of(cell, settings, rows)`.
        share: (rank, world): run every world-th cell from the rank-th on, whoever has finished which.
        on_done: is called with (number, of, row) after each cell that was run: the first of 12 is (1, 12, ...); `row` holds
            the cell and its numbers.

    Returns:
        `finished(cells, records)`: a line per finished cell in the order of `cells`. With a share these are its own and
        those that others had finished when `records` was opened.

    Raises:
        ArgumentError: a cell is not of JSON values, two cells have one name, no such share, or `work` returned what no
            record can hold. What `work` raises passes through with a note that names the cell; KeyboardInterrupt as it is.

    Relations:
        `timed` counts the seconds of selection and of training apart. `mean_table`, `differences` and
        `hf_select.report.plot_comparison` take the table.

    Example:
        >>> import tempfile
        >>> cells = [{"method": method, "seed": seed} for seed in (0, 1) for method in ("ours", "random")]
        >>> records = Records(tempfile.mkdtemp())
        >>> table = run_cells(cells, lambda cell: {"loss": cell["seed"] + 0.5}, records)
        >>> table["loss"].tolist()
        [0.5, 0.5, 1.5, 1.5]
        >>> run_cells(cells, None, records).equals(table)  # nothing is left to run
        True
    """
    rank, world = share
    if not 0 <= rank < world:
        raise ArgumentError(f"share= is (rank, world) with 0 <= rank < world; got {share!r}.")
    names = _names(cells, name)
    missing = [(own, cell) for own, cell in list(zip(names, cells, strict=True))[rank::world] if own not in records]
    for number, (own, cell) in enumerate(missing, 1):
        try:
            records.keep(own, {**cell, **_checked(work(dict(cell)), cell)})
        except Exception as error:
            done = sum(each in records for each in names)
            error.add_note(
                f"In cell {number} of the {len(missing)} that were missing, {_text(cell)}. {done} of {len(cells)} cells are "
                f"finished and kept in {records.folder}: the same call goes on from there."
            )
            raise
        if on_done is not None:
            on_done(number, len(missing), {**cell, **records[own]})
    return finished(cells, records, name=name)


def finished(cells: Sequence[Cell], records: Mapping[str, Mapping[str, Any]], *, name: Names = name_of) -> pd.DataFrame:
    """Return a line per cell that has a record: the columns of the cell, then those of the record.

    Args:
        cells, name: as in `run_cells`.
        records: after several processes worked, a new `Records(folder)`, which sees what all of them wrote.

    Returns:
        A table in the order of `cells`; of what is not finished there is no line.

    Raises:
        ArgumentError: a cell is not of JSON values, or two cells have one name.

    Example:
        >>> finished([{"seed": 0}, {"seed": 1}], {name_of({"seed": 1}): {"loss": 0.5}})
           seed  loss
        0     1   0.5
    """
    import pandas as pd

    names = _names(cells, name)
    found = [(json.loads(_text(cell)), records[own]) for own, cell in zip(names, cells, strict=True) if own in records]
    return pd.DataFrame(
        [{**cell, **record, **cell} for cell, record in found]
    )  # the cell's columns first, and as given


@contextmanager
def timed(record: MutableMapping[str, Any], name: str) -> Iterator[None]:
    """Add the seconds that a block takes to `record[name]`, also if it fails.

    A GPU that still works when the block ends is not waited for: end it with something that reads a result.

    Example:
        >>> spent = {}
        >>> with timed(spent, "select_seconds"):
        ...     rows = sorted(range(10))
        >>> with timed(spent, "train_seconds"):
        ...     loss = sum(rows)
        >>> list(spent), spent["select_seconds"] >= 0
        (['select_seconds', 'train_seconds'], True)
    """
    started = time.perf_counter()
    try:
        yield
    finally:
        record[name] = record.get(name, 0.0) + time.perf_counter() - started


def _names(cells: Sequence[Cell], name: Names) -> list[str]:
    for cell in cells:
        _text(cell)
    names = [name(dict(cell)) for cell in cells]
    places: dict[str, int] = {}
    for place, own in enumerate(names):
        if places.setdefault(own, place) != place:
            one, other = _text(cells[places[own]]), _text(cells[place])
            raise ArgumentError(
                f"Cells {places[own]} and {place} would share one record: {one} and {other}. Each cell is run once, so "
                "leave one out, or let name= tell them apart."
            )
    return names


def _text(cell: Cell) -> str:
    try:
        return json.dumps(dict(cell), default=plain)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"A cell is a dict of JSON values; got {cell!r}: {error}.") from error


def _checked(result: object, cell: Cell) -> Mapping[str, Any]:
    if not isinstance(result, Mapping):
        raise ArgumentError(f"work= returns a dict of numbers; got {type(result).__name__}.")
    if both := sorted(set(result) & set(cell)):
        raise ArgumentError(
            f"work= returned {', '.join(map(repr, both))}, which the cell has already: name it otherwise."
        )
    return result
