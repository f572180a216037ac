"""The Selection: which rows were chosen, in which order, from what, and why. A frozen record that is also the report."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hf_select.budget import Budget, cut
from hf_select.counts import kept_by_value
from hf_select.errors import SelectionError
from hf_select.joining import append_columns
from hf_select.matching import KeyFilter, locate, locate_in_source
from hf_select.readers import read_groups, read_seconds
from hf_select.rows import RowKey, audio_column, require_dataset
from hf_select.storage import fields_from_bytes, load_fields, save_selection, selection_table, to_bytes

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EXCLUDED", "SEPARATOR", "Selection"]

EXCLUDED = "excluded: "  # what the group of a row that could not be chosen starts with; the reason follows
SEPARATOR = "; "  # between the subgroups of one row


@dataclass(frozen=True, eq=False, repr=False)
class Selection:
    """The outcome of a selector: rows of a source dataset, in order of choice, with the reasons.

    Attributes:
        indices: rows of the source that are kept, ascending (int64).
        order: for each of `indices` its rank of choice, 0 = chosen first: a smaller budget keeps a prefix of it.
        key: identity of every row of the source (Arrow array of text or integers), see `RowKey`.
        score: for every row of the source what it was ranked by, higher = kept first; NaN if it has none (float64).
        group: for every row of the source its group (cluster, subgroup), or `"excluded: <reason>"`, or None.
        method: name of the selector. params: its arguments. seed: its seed. budget: the budget as given.
        source: name, revision, fingerprint, num_rows and row key of the dataset that was selected from.
        segment_start, segment_end: per kept row, seconds, where a method cuts clips; else None.
        seconds, warnings, versions, facts: how it went (time taken; sentences for people; packages; figures of the
            method, such as the slack of a time budget). They are no part of equality or of the pickled state.

    Example:
        >>> from datasets import Dataset
        >>> import hf_select as hs
        >>> ds = Dataset.from_dict({"id": ["a", "b", "c", "d"], "loss": [0.1, 0.9, 0.5, 0.2]})
        >>> sel = hs.select_by_score(ds, budget=2, column="loss", key="id")
        >>> sel.indices.tolist(), sel.order.tolist(), sel.apply(ds)["id"][:]
        ([1, 2], [0, 1], ['b', 'c'])
        >>> sel.apply(ds.shuffle(seed=1))["id"][:] == [i for i in ds.shuffle(seed=1)["id"] if i in "bc"]
        True
    """

    indices: NDArray[np.int64]
    order: NDArray[np.int64]
    key: pa.Array
    score: NDArray[np.float64]
    group: NDArray[np.object_]
    method: str
    params: dict[str, Any]
    seed: int | None
    budget: int | float | str
    source: dict[str, Any]
    segment_start: NDArray[np.float64] | None = None
    segment_end: NDArray[np.float64] | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    # -- what it says

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def num_rows(self) -> int:
        """Rows of the source."""
        return int(self.source["num_rows"])

    @property
    def ranked(self) -> NDArray[np.int64]:
        """The kept rows in order of choice, the first choice first."""
        return self.indices[np.argsort(self.order)]

    @property
    def excluded(self) -> dict[str, int]:
        """How many rows could not be chosen, by reason, the most frequent first."""
        reasons = Counter(g.removeprefix(EXCLUDED) for g in self.group if g is not None and g.startswith(EXCLUDED))
        return dict(reasons.most_common())

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """For every row of the source the groups that asked for it: its cluster, or all subgroups it belongs to; () if none."""
        names = [None if g is None or g.startswith(EXCLUDED) else g for g in self.group]
        several = "subgroups" in self.params  # a phrase never holds the separator, see hf_select.subgroups.conditions
        return [() if g is None else tuple(g.split(SEPARATOR)) if several else (g,) for g in names]

    def __str__(self) -> str:
        share = f" ({len(self) / self.num_rows:.1%})" if self.num_rows else ""
        hours = (
            f", {self.facts['kept_hours']:.2f} of {self.facts['total_hours']:.2f} h"
            if "kept_hours" in self.facts
            else ""
        )
        params = ", ".join(f"{name}={value!r}" for name, value in self.params.items() if value is not None)
        lines = [
            f"{self.method}: {len(self)} of {self.num_rows} rows{share}{hours}",
            f"  budget {self.budget}, seed {self.seed}, {params}",
        ]
        short = Counter[str]()
        for reason, count in self.excluded.items():
            short[reason.split(":")[0]] += count
        lines += [f"  {count} rows could not be chosen: {reason}" for reason, count in short.items()]
        return "\n".join(lines + [f"  note: {warning}" for warning in self.warnings])

    __repr__ = __str__

    def describe(self, ds: Any, by: str | None = None, *, duration: str | None = "duration") -> pd.DataFrame:
        """Count kept and total rows, and hours, per value of a column; the largest losers come first.

        Reads:
            The column `by`, and `duration` (seconds) if there is one.

        Args:
            ds: the dataset that was selected from, in any order of rows.
            by: any column of one value per row; numbers with more than 12 values are cut into quarters. None: in all.
            duration: the column of durations, or None to leave hours out.

        Returns:
            A table with columns kept, total, kept_share (and kept_hours, total_hours), indexed by value.
        """
        return kept_by_value(ds, self.mask(ds), by, duration if duration in ds.column_names else None)

    # -- what it does

    def apply(self, ds: Any) -> Any:
        """Keep the selected rows of a dataset: the one verb.

        Rows are matched by key, so a dataset that was shuffled, or rid of rows that were dropped anyway, gives the same
        rows (in its own order). A stream is filtered by key, undecoded.

        Args:
            ds: the Dataset or IterableDataset that was selected from.

        Returns:
            The smaller dataset, with `segment_start` and `segment_end` (seconds) where the method cut clips.

        Raises:
            SelectionError: a row is unknown, or a kept row is missing: another dataset, or another revision of it.
            DatasetError: a DatasetDict: pass one split.
        """
        if type(ds).__name__ == "IterableDataset":
            return self._apply_stream(ds)
        require_dataset(ds, "Selection.apply")
        places = self._locate(ds)
        by_place = np.argsort(places)
        kept = ds.select(places[by_place])
        if self.segment_start is None or self.segment_end is None:
            return kept
        bounds = {"segment_start": self.segment_start[by_place], "segment_end": self.segment_end[by_place]}
        return append_columns(kept, pa.table(bounds))

    def mask(self, ds: Any) -> NDArray[np.bool_]:
        """Return for each row of `ds` whether it is kept; rows are matched as in `apply`."""
        require_dataset(ds, "Selection.mask")
        mask = np.zeros(len(ds), dtype=bool)
        mask[self._locate(ds)] = True
        return mask

    def mark(self, ds: Any, prefix: str = "") -> Any:
        """Add thin columns `selected`, `selection_rank`, `selection_score`, `selection_group`; the audio stays where it is.

        The other door to `filter`: `sel.mark(ds).filter(lambda kept: kept, input_columns=["selected"])`.

        Args:
            ds: the dataset that was selected from, in any order of rows.
            prefix: put before the four names, for several Selections beside each other.
        """
        require_dataset(ds, "Selection.mark")
        places = locate_in_source(self.key, self._row_key.of(ds))
        rank = np.full(self.num_rows, -1, dtype=np.int64)
        rank[self.indices] = self.order
        rank, score, group = rank[places], self.score[places], self.group[places]
        columns = {
            "selected": pa.array(rank >= 0),
            "selection_rank": pa.array(rank, mask=rank < 0),
            "selection_score": pa.array(score, mask=np.isnan(score)),
            "selection_group": pa.array(group, pa.string()),
        }
        return append_columns(ds, pa.table({prefix + name: column for name, column in columns.items()}))

    def take(self, budget: Any, *, ds: Any = None, per: str | None = None, duration: str = "duration") -> Selection:
        """Cut again, to a smaller budget: the first of the order of choice.

        For a ranking this is what selecting at the smaller budget gives; for clusters it is close to it.

        Args:
            budget: a budget in any form; a share is a share of the source's rows, as it was in the selector.
            ds: the source, in any order; needed by an amount of audio and by `per`.
            per: apply the budget inside each group of this column of `ds`.
            duration: the column of seconds in `ds`.

        Raises:
            SelectionError: the budget asks for more rows than are kept, or needs `ds`.
        """
        wanted = Budget.parse(budget)
        if ds is None and (wanted.kind == "seconds" or per is not None):
            raise SelectionError("take() with an amount of audio or per= reads columns of the source: pass it as ds=.")
        if wanted.kind != "seconds" and per is None and wanted.rows_of(self.num_rows) > len(self):
            raise SelectionError(
                f"take({budget!r}) asks for {wanted.rows_of(self.num_rows)} rows and {len(self)} are kept: select again."
            )
        groups = self._of_source(ds, read_groups(ds, per)) if per is not None else None
        seconds = self._of_source(ds, read_seconds(ds, duration)) if wanted.kind == "seconds" else None
        found = cut(wanted, self.ranked, num_rows=self.num_rows, per=groups, seconds=seconds)
        facts = {} if found.slack_seconds is None else {"slack_seconds": found.slack_seconds}
        return self._keeping(found.rows, budget, (*self.warnings, *found.warnings), facts)

    def then(self, second: Selection) -> Selection:
        """Combine with a Selection that was made on `self.apply(ds)`: the result indexes the source of `self`.

        Raises:
            SelectionError: `second` was made on other rows.
        """
        if not second.key.equals(self.key.take(pa.array(self.indices))):
            raise SelectionError(
                f"then() needs a Selection made on the {len(self)} rows that this one keeps, in that order; the second was made "
                f"on {second.num_rows} rows of {second.source.get('name')!r}. Make it on first.apply(ds)."
            )
        score = np.full(self.num_rows, np.nan)
        group = np.full(self.num_rows, f"dropped by {self.method}", dtype=object)
        for row, name in enumerate(self.group):
            if name is not None and name.startswith(EXCLUDED):
                group[row] = name
        score[self.indices], group[self.indices] = second.score, second.group
        told = ((self, "total_hours"), (second, "kept_hours"))
        hours = {name: made.facts[name] for made, name in told if "total_hours" in self.facts.keys() & second.facts}
        return Selection(
            indices=self.indices[second.indices],
            order=second.order,
            key=self.key,
            score=score,
            group=group,
            method=f"{self.method} then {second.method}",
            params={"first": self.record(), "second": second.record()},
            seed=second.seed,
            budget=second.budget,
            source=self.source,
            segment_start=second.segment_start,
            segment_end=second.segment_end,
            seconds=self.seconds + second.seconds,
            warnings=(*self.warnings, *second.warnings),
            versions=second.versions,
            facts={**hours, "first": self.facts, "second": second.facts},
        )

    def __call__(self, batch: Mapping[str, Any], indices: list[int]) -> list[bool]:
        """Say which rows of a batch are kept: `ds.filter(sel, with_indices=True, batched=True)`, decoding nothing.

        Raises:
            SelectionError: the rows are not where they were: use `apply`, which matches them by key.
        """
        rows = np.asarray(indices, dtype=np.int64)
        keys = self._row_key.of_batch(batch)
        if len(rows) and (
            rows.max() >= self.num_rows or (keys is not None and self.key.take(pa.array(rows)).to_pylist() != keys)
        ):
            raise SelectionError(
                "filter() met rows that are not where they were when they were selected: use sel.apply(ds), which matches by key."
            )
        kept = np.zeros(self.num_rows, dtype=bool)
        kept[self.indices] = True
        return kept[rows].tolist()

    # -- on disk, equality, pickling (hf_select.storage)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write `selection.json` and `selection.parquet` (row, key, rank, score, group, segments) into a folder.

        Raises:
            OutputError: there is a Selection already and `overwrite` is False, or the folder can't be written.
        """
        save_selection(self, Path(path), overwrite=overwrite)

    @staticmethod
    def load(path: str | Path) -> Selection:
        """Read a Selection back; every byte is checked.

        Raises:
            SelectionError: a file is missing, damaged, or does not belong to the other.
        """
        return Selection(**load_fields(Path(path)))

    def record(self) -> dict[str, Any]:
        """Return what was done, in plain JSON values: method, params, seed, budget, source."""
        return {
            "method": self.method,
            "params": self.params,
            "seed": self.seed,
            "budget": self.budget,
            "source": self.source,
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that counts for equality: two Selections with one digest are the same."""
        sha = hashlib.sha256(json.dumps(self.record(), sort_keys=True).encode())
        for column in selection_table(self).columns:
            sha.update(json.dumps(column.to_pylist()).encode())
        return sha.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selection) and self.digest == other.digest

    def __hash__(self) -> int:
        return int(self.digest[:15], 16)

    def __getstate__(self) -> dict[str, Any]:
        return {"selection": to_bytes(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(Selection(**fields_from_bytes(state["selection"])).__dict__)

    # -- helpers

    @property
    def _row_key(self) -> RowKey:
        return RowKey(self.source["key"]["kind"], tuple(self.source["key"]["columns"]))

    def _locate(self, ds: Any) -> NDArray[np.int64]:
        return locate(self.key, self.indices, self._row_key.of(ds))

    def _of_source(self, ds: Any, values: NDArray[Any]) -> NDArray[Any]:
        """Bring values read from `ds` into the order of the source; rows that `ds` lacks get the value of its first row."""
        there = self._row_key.of(ds)
        if self.key.equals(there):
            return values
        places = np.zeros(self.num_rows, dtype=np.int64)
        places[self.indices] = locate(self.key, self.indices, there)
        return values[places]

    def _keeping(
        self, rows: NDArray[np.int64], budget: Any, warnings: tuple[str, ...], facts: dict[str, Any]
    ) -> Selection:
        """Return this Selection with only `rows` (in order of choice) kept."""
        by_row = np.argsort(rows)
        inside = np.isin(self.indices, rows)
        start, end = self.segment_start, self.segment_end
        return Selection(
            indices=rows[by_row],
            order=by_row.astype(np.int64),
            key=self.key,
            score=self.score,
            group=self.group,
            method=self.method,
            params=self.params,
            seed=self.seed,
            budget=budget if isinstance(budget, (int, float, str)) else str(budget),
            source=self.source,
            segment_start=None if start is None else start[inside],
            segment_end=None if end is None else end[inside],
            seconds=self.seconds,
            warnings=warnings,
            versions=self.versions,
            facts=facts,
        )

    def _apply_stream(self, ds: Any) -> Any:
        from datasets import Audio

        row_key = self._row_key
        if row_key.kind == "content":
            raise SelectionError(
                "A stream can't be matched without audio or an id column: select with key= naming a column of unique ids."
            )
        if self.segment_start is not None:
            raise SelectionError("A Selection with segments is applied to a Dataset, not to a stream.")
        audio = audio_column(ds) or (row_key.columns[0] if row_key.kind == "audio" else None)
        before = (ds.features or {}).get(audio) if audio else None
        undecoded = ds.cast_column(audio, Audio(decode=False)) if audio else ds
        kept = undecoded.filter(KeyFilter(row_key, self.key, self.indices), batched=True)
        return kept.cast_column(audio, before) if before is not None else kept
