"""What the metrics of this room share: rows are checked when they are added, and refusals are ArgumentErrors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from hf_select.errors import ArgumentError

__all__ = ["OPTIONS", "CheckedRows"]

# Every option that a metric of this room has: `evaluate.combine` hands all options to all its metrics.
OPTIONS = ("bins", "by", "classes", "min_support", "redundancy")


class CheckedRows:
    """Stand before `evaluate.Metric` in a metric's bases: checks what is added, and cleans up after a refusal.

    `evaluate` alone cuts a label of 0.7 to 0, reads "3" as 3, fails on empty lists with an IndexError, and after a failed
    `compute` keeps its file and the lock on it, for which the next one waits a second. This is no subclass of
    `evaluate.Metric` itself, since `evaluate.load` takes the first one that it sees in a file.

    Attributes:
        inputs: per feature of the metric, what reads its values (see `hf_select.metrics.inputs`).
        options: names of the metric's own options of `compute`, out of `OPTIONS`; those of others are left to them.
    """

    inputs: ClassVar[Mapping[str, Callable[[Any, str], Any]]]
    options: ClassVar[tuple[str, ...]] = ()

    def add_batch(self, *, predictions: Any = None, references: Any = None, **others: Any) -> None:
        """Add rows: lists, arrays or tensors with one value per row. A refused batch adds nothing."""
        given = {"predictions": predictions, "references": references, **others}
        if strange := sorted(others.keys() - self.inputs.keys()):
            raise ArgumentError(
                f"{self._title}: there is no input {strange[0]!r}. Inputs are: {', '.join(self.inputs)}."
            )
        if missing := [name for name in self.inputs if given[name] is None]:
            raise ArgumentError(f"{self._title}: {missing[0]}= is missing. Inputs are: {', '.join(self.inputs)}.")
        rows = {name: read(given[name], name) for name, read in self.inputs.items()}
        if len({len(values) for values in rows.values()}) > 1:
            lengths = " and ".join(f"{len(values)} {name}" for name, values in rows.items())
            raise ArgumentError(f"{self._title}: {lengths} were given; give one of each per row.")
        if all(len(values) for values in rows.values()):
            self._require_one_kind({name: isinstance(values[0], str) for name, values in rows.items()})
            super().add_batch(**rows)  # type: ignore[misc]

    def add(self, *, prediction: Any = None, reference: Any = None, **others: Any) -> None:
        """Add one row."""
        given = {"predictions": prediction, "references": reference, **others}
        self.add_batch(**{name: None if value is None else [value] for name, value in given.items()})

    def compute(self, *, predictions: Any = None, references: Any = None, **options: Any) -> dict[str, Any] | None:
        """Measure all rows that were added, and those given here; the next call starts afresh.

        Where it is refused because of an option, the rows are gone as well.
        """
        if strange := sorted(options.keys() - set(OPTIONS)):
            own = f"Its options are: {', '.join(self.options)}" if self.options else "It has none"
            raise ArgumentError(f"{self._title}: there is no option {strange[0]!r}. {own}.")
        if predictions is not None or references is not None:
            self.add_batch(predictions=predictions, references=references)
        if not len(self):  # type: ignore[arg-type]
            wanted = ", ".join(f"{name}=" for name in self.inputs)
            raise ArgumentError(f"{self._title}: there are no rows. Give {wanted}, or call add_batch before.")
        try:
            own_options = {name: value for name, value in options.items() if name in self.options}
            return super().compute(**own_options)  # type: ignore[misc,no-any-return]
        finally:
            self._let_go()

    @property
    def _title(self) -> str:
        return type(self).__name__

    def _require_one_kind(self, texts: dict[str, bool]) -> None:
        """Refuse text beside numbers, in one batch or after batches of the other kind."""
        stored = getattr(self, "selected_feature_format", None)
        before = {} if stored is None else {f"{name} before": stored[name].dtype == "string" for name in self.inputs}
        if len({*texts.values(), *before.values()}) > 1:
            kinds = ", ".join(f"{name}: {'text' if text else 'numbers'}" for name, text in {**texts, **before}.items())
            raise ArgumentError(f"{self._title}: labels are all text or all numbers; these are mixed ({kinds}).")

    def _let_go(self) -> None:
        """Give up the rows, their file and its lock, also after a refusal; a lock that is kept can't be pickled."""
        self.data = self.writer = self.buf_writer = None
        files, locks = getattr(self, "file_paths", None), getattr(self, "filelocks", None)
        for file, lock in zip(files or (), locks or (), strict=False):
            Path(file).unlink(missing_ok=True)
            lock.release()
        self.file_paths = self.filelocks = None
