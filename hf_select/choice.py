"""What every selector does around its own idea: check what came in, set aside rows that can't be chosen, cut, record."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_select.budget import Budget, Cut, cut
from hf_select.errors import ArgumentError, BudgetError, ColumnError
from hf_select.readers import read_groups, read_seconds
from hf_select.rows import RowKey, raw_column, require_dataset
from hf_select.selection import EXCLUDED, Selection

__all__ = ["Choice", "package_versions", "rank"]

_PACKAGES = ("hf-select", "numpy", "pyarrow", "datasets", "scikit-learn")


class Choice:
    """One selection in the making. A selector opens it first (all arguments are checked before any long work), excludes
    rows it can't judge, and closes it with a score per row.

    Reads:
        `per`, `key`, `duration` and `status` columns where they are given or needed; never audio.

    Args:
        ds: a map-style dataset.
        method: name of the selector. params: its own arguments, in plain JSON values.
        budget: in any form, see `hf_select.budget`.
        seed: a whole number of at least 0, or None for a method without chance.
        per: a column; the budget holds inside each group of its values.
        key: an id column; None: a digest of each row's audio (see `RowKey`).
        duration: column of seconds, needed by an amount of audio, and used for the hours of the report where it is there.
        status: column that says why a clip can't be used ("ok" or a reason), as the audio transforms write it; rows with a
            reason are never chosen. Ignored where there is no such column.

    Example:
        A selector of your own, which `hf_select.testing.check_selector` can check:

        >>> from datasets import Dataset
        >>> def select_longest(ds, *, budget, column="duration", seed=None, **rows):
        ...     choice = Choice(ds, "select_longest", {"column": column}, budget=budget, seed=seed, **rows)
        ...     return choice.close(ds.with_format("numpy")[column][:])
        >>> select_longest(Dataset.from_dict({"duration": [1.0, 3.0, 2.0]}), budget=2).indices.tolist()
        [1, 2]
    """

    def __init__(
        self,
        ds: Any,
        method: str,
        params: dict[str, Any],
        *,
        budget: Any,
        seed: int | None,
        per: str | None = None,
        key: str | None = None,
        duration: str = "duration",
        status: str | None = "audio_status",
    ) -> None:
        self._started = time.perf_counter()
        require_dataset(ds, method)
        self.budget = Budget.parse(budget)
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0):
            raise ArgumentError(f"seed is a whole number of at least 0; got {seed!r}.")
        self.ds, self.method, self.params = ds, method, params
        self._as_given = budget if isinstance(budget, (int, float, str)) else str(budget)
        if isinstance(budget, np.generic):
            self._as_given = budget.item()
        self.seed = None if seed is None else int(seed)
        self.row_key = RowKey.choose(ds, key)
        self.reasons = np.full(len(ds), None, dtype=object)
        self._rows = {"per": per, "duration": duration if duration != "duration" else None}
        self._rows["status"] = status if status != "audio_status" else None
        self._groups = None if per is None else read_groups(ds, per)
        self._seconds = self._read_seconds(duration)
        if status is not None and status in ds.column_names:
            self._exclude_by_status(status)
        if self.budget.kind == "seconds" and self._seconds is not None:
            self.exclude(np.isnan(self._seconds), "no duration")

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows that may be chosen, as things stand."""
        return np.flatnonzero(self.reasons == None)  # noqa: E711 (an array of objects)

    @property
    def groups(self) -> NDArray[np.object_] | None:
        """The group of each row, when the budget holds per group."""
        return self._groups

    def exclude(self, where: ArrayLike, reason: str) -> None:
        """Set rows aside for a reason, which the Selection reports; a reason found earlier stays."""
        rows = np.flatnonzero(np.asarray(where))
        self.reasons[rows[self.reasons[rows] == None]] = reason  # noqa: E711

    def close(
        self,
        score: ArrayLike,
        *,
        group: Iterable[Any] | None = None,
        clusters: NDArray[np.int64] | None = None,
        warnings: Iterable[str] = (),
        facts: dict[str, Any] | None = None,
        everything: bool = False,
    ) -> Selection:
        """Rank the rows by score, cut the ranking by the budget, and return the Selection.

        Args:
            score: one number per row, higher = kept first, ties by row position; a row whose score is NaN can't be chosen.
            group: what to report as the group of each row. None: the cluster, else the value of `per`.
            clusters: cluster of each row; the budget is split over them.
            warnings, facts: for the report.
            everything: keep every row that can be chosen, whatever the budget says, and record the budget as "all".
        """
        score = np.array(score, dtype=np.float64).reshape(-1)
        if len(score) != len(self.ds):
            raise ColumnError(f"{self.method}: {len(score)} scores for {len(self.ds)} rows.")
        self.exclude(np.isnan(score), "no score")
        ranking = self.rows[rank(score[self.rows])]
        if everything:
            self._as_given, found = "all", Cut(ranking)
        else:
            found = cut(
                self.budget, ranking, num_rows=len(self.ds), per=self._groups, clusters=clusters, seconds=self._seconds
            )
        by_row = np.argsort(found.rows)
        if group is None:
            group = clusters if clusters is not None else self._groups
        params = {**self.params, **{name: value for name, value in self._rows.items() if value is not None}}
        return Selection(
            indices=found.rows[by_row],
            order=by_row.astype(np.int64),
            key=self.row_key.of(self.ds),
            score=score,
            group=self._named(group),
            method=self.method,
            params=params,
            seed=self.seed,
            budget=self._as_given,
            source=self._source(),
            seconds=round(time.perf_counter() - self._started, 3),
            warnings=(*warnings, *found.warnings),
            versions=package_versions(),
            facts={**(facts or {}), **self._hours(found.rows, found.slack_seconds)},
        )

    def _read_seconds(self, duration: str) -> NDArray[np.float64] | None:
        if self.budget.kind == "seconds":
            if duration not in self.ds.column_names:
                raise BudgetError(
                    f"A budget of {self.budget} needs the duration of every row, and there is no column {duration!r}. Add decoded "
                    "seconds with hs.with_columns(ds, hs.Duration()), or name another column with duration=. Columns there are: "
                    f"{', '.join(self.ds.column_names)}."
                )
            return read_seconds(self.ds, duration)
        try:
            return read_seconds(self.ds, duration)
        except ColumnError:  # only the report would have used it
            return None

    def _exclude_by_status(self, status: str) -> None:
        for row, reason in enumerate(raw_column(self.ds, status).to_pylist()):
            if reason is not None and str(reason) != "ok":
                self.reasons[row] = str(reason)

    def _named(self, group: Iterable[Any] | None) -> NDArray[np.object_]:
        names = np.full(len(self.ds), None, dtype=object)
        if group is not None:
            names[:] = [None if name is None else str(name) for name in group]
        excluded = np.flatnonzero(self.reasons != None)  # noqa: E711
        names[excluded] = [EXCLUDED + reason for reason in self.reasons[excluded].tolist()]
        return names

    def _hours(self, rows: NDArray[np.int64], slack: float | None) -> dict[str, Any]:
        hours: dict[str, Any] = {} if slack is None else {"slack_seconds": slack}
        if self._seconds is not None:
            hours["kept_hours"] = float(np.nansum(self._seconds[rows])) / 3600
            hours["total_hours"] = float(np.nansum(self._seconds)) / 3600
        return hours

    def _source(self) -> dict[str, Any]:
        info = self.ds.info
        name = "/".join(
            str(part) for part in (info.dataset_name or info.builder_name, info.config_name, self.ds.split) if part
        )
        return {
            "name": name or None,
            "revision": _revision(info),
            "fingerprint": self.ds._fingerprint,
            "num_rows": len(self.ds),
            "key": {"kind": self.row_key.kind, "columns": list(self.row_key.columns)},
        }


def rank(score: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return positions in order of choice: higher scores first, ties by position. The one helper that orders."""
    return np.argsort(-score, kind="stable")


def _revision(info: Any) -> str | None:
    """Return the commit that the files came from, where `datasets` has noted it (hf://datasets/<name>@<commit>/...)."""
    for url in info.download_checksums or {}:
        name, at, rest = str(url).partition("@")
        if name.startswith("hf://") and at:
            return rest.split("/")[0]
    return None


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that a selection depends on."""
    return {package: _version(package) for package in _PACKAGES}


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
