"""The contract of a selector as a list of checks, to run over a method of ours or a function of yours.

from hf_select.testing import check_selector
check_selector(my_select, column="loss", values="numbers", nested=True)
"""

from __future__ import annotations

import json
import math
import pickle
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from hf_select.errors import HfSelectError
from hf_select.selection import Selection

__all__ = ["ContractError", "SelectorCase", "check_selector", "make_rows", "selector_checks"]

_SHARES = {
    0.1: Fraction(1, 10),
    0.29: Fraction(29, 100),
    0.5: Fraction(1, 2),
    0.999: Fraction(999, 1000),
    1.0: Fraction(1),
}
_TEXT_SHARES = {
    "30%": Fraction(3, 10),
    "0.3": Fraction(3, 10),
    "12.5%": Fraction(1, 8),
    "100%": Fraction(1),
    "1.0": Fraction(1),
}
_ILLEGAL = (
    0,
    -1,
    0.0,
    -0.5,
    1.5,
    math.nan,
    math.inf,
    True,
    None,
    "",
    "many",
    "0",
    "0%",
    "101%",
    "1.5",
    "-3",
    "5d",
    "0s",
    "1e3",
    [3],
)


class ContractError(AssertionError):
    """A selector broke the contract; the message lists every check that failed."""


@dataclass(frozen=True)
class SelectorCase:
    """A selector with what has to be known to check it.

    Attributes:
        select: the function, called as `select(ds, budget=..., **arguments)`.
        arguments: further arguments of every call.
        column: the column it reads, or None.
        values: what that column holds: "vectors", "numbers", or None when it reads no column.
        nested: a smaller budget keeps a prefix (greedy methods, rankings, chance with one seed).
        chance: the outcome depends on the seed.
        permutable: reordering the rows of the dataset reorders the outcome and changes nothing else.
        scalable: multiplying the column by a positive number changes nothing.
        needs_budget: `budget=None` is an error, as every budget outside the legal forms.
    """

    select: Callable[..., Selection]
    arguments: dict[str, Any] = field(default_factory=dict)
    column: str | None = None
    values: str | None = None
    nested: bool = True
    chance: bool = False
    permutable: bool = False
    scalable: bool = True
    needs_budget: bool = True

    def __call__(self, ds: Any, budget: Any, **more: Any) -> Selection:
        """Call the selector."""
        return self.select(ds, **{**self.arguments, "budget": budget, **more})


def make_rows(rows: int = 60, *, column: str | None = None, values: str | None = None, seed: int = 0) -> Any:
    """Make a small dataset: poisoned audio (decoding it raises), id, label, speaker, duration, and the column to read.

    Example:
        >>> make_rows(4, column="loss", values="numbers").column_names
        ['audio', 'id', 'label', 'speaker', 'duration', 'loss']
    """
    from datasets import Audio, Dataset

    rng = np.random.default_rng(seed)
    names = [f"clip{i:04d}.wav" for i in range(rows)]
    columns: dict[str, Any] = {
        "audio": [
            {"bytes": b"no sound at all " + bytes([i % 256, i // 256]), "path": name} for i, name in enumerate(names)
        ],
        "id": [f"row-{i}" for i in range(rows)],
        "label": [("yes", "yes", "no")[i % 3] for i in range(rows)],
        "speaker": [f"s{i % 7}" for i in range(rows)],
        "duration": (0.5 + rng.integers(0, 8, rows) / 4).tolist(),
    }
    if column is not None:
        columns[column] = (
            rng.normal(size=(rows, 5)).tolist() if values == "vectors" else rng.permutation(rows).astype(float).tolist()
        )
    return Dataset.from_dict(columns).cast_column("audio", Audio())


def check_selector(select: Callable[..., Selection], **traits: Any) -> int:
    """Run every check of the contract over a selector.

    Args:
        select: the function.
        **traits: fields of `SelectorCase`: arguments, column, values, nested, chance, permutable, scalable, needs_budget.

    Returns:
        How many checks were run.

    Raises:
        ContractError: naming each check that failed, and why.

    Example:
        >>> import hf_select as hs
        >>> check_selector(hs.select_random, chance=True) > 60
        True
    """
    failed, number = [], 0
    for name, check in selector_checks(SelectorCase(select, **traits)):
        number += 1
        try:
            check()
        except Exception as error:
            failed.append(f"{name}: {type(error).__name__}: {error}")
    if failed:
        raise ContractError(f"{len(failed)} of {number} checks failed:\n" + "\n".join(failed))
    return number


def selector_checks(case: SelectorCase) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield (name, check) for every check of the contract that applies to a selector."""
    checks = _Checks(case)
    shares: dict[Any, Fraction] = {**_SHARES, **_TEXT_SHARES}
    for share, exact in shares.items():
        yield f"share {share!r} keeps floor(share x rows)", partial(checks.keeps, share, int(exact * 60))
    for rows, number in ((1, 1), (2, 2), (7, 7), (60, 60), ("5", 5), (np.int64(3), 3)):
        yield f"rows {rows!r} keeps {number}", partial(checks.keeps, rows, number)
    for budget in ("3s", "20.5s", "0.5min", "0.01h", "10h"):
        yield (
            f"audio {budget!r} is filled in order up to the first row that does not fit",
            partial(checks.fills, budget),
        )
    for illegal in _ILLEGAL if case.needs_budget else [form for form in _ILLEGAL if form is not None]:
        yield f"budget {illegal!r} is an error that states the legal forms", partial(checks.refuses_budget, illegal)
    for name in sorted(dir(checks)):
        if name.startswith("check_"):
            yield name.removeprefix("check_").replace("_", " "), getattr(checks, name)
    if case.nested:
        yield "a smaller budget keeps a prefix", checks.nested
    if case.chance:
        yield "another seed, other rows", checks.another_seed
    if case.permutable:
        yield "reordered rows, same choice", checks.permuted
    if case.column is not None:
        for name in ("missing_column", "text_column", "nulls", "nans", "infinities", "all_equal"):
            yield f"column: {name.replace('_', ' ')}", getattr(checks, name)
        if case.scalable:
            yield "column: scaled by 8, same choice", checks.scaled


def _true(condition: Any, message: str) -> None:
    if not condition:
        raise ContractError(message)


class _Checks:
    """The checks, each a method that raises when the contract is broken."""

    def __init__(self, case: SelectorCase) -> None:
        self.case = case
        self.ds = self.rows(60)

    def rows(self, number: int, seed: int = 0) -> Any:
        return make_rows(number, column=self.case.column, values=self.case.values, seed=seed)

    def fails(self, *wanted: str, ds: Any = None, budget: Any = 0.5, **more: Any) -> None:
        try:
            self.case(self.ds if ds is None else ds, budget, **more)
        except HfSelectError as error:
            for text in wanted:
                _true(text in str(error), f"the error does not mention {text!r}: {error}")
        else:
            raise ContractError("no error was raised")

    def with_values(self, change: Callable[[np.ndarray], Any]) -> Any:
        name = str(self.case.column)
        values = np.array(self.ds.with_format(None)[name][:], dtype=float)
        return self.ds.remove_columns(name).add_column(name, change(values))

    # -- budgets ---------------------------------------------------------------------------------------------------

    def keeps(self, budget: Any, number: int) -> None:
        found = len(self.case(self.ds, budget))
        _true(found == number, f"kept {found} rows instead of {number}")

    def fills(self, budget: str) -> None:
        limit = {"h": 3600, "n": 60, "s": 1}[budget[-1]] * float(budget.rstrip("hmins"))
        sel = self.case(self.ds, budget)
        seconds = np.array(self.ds["duration"])
        used = seconds[sel.indices].sum()
        _true(used <= limit + 1e-9, f"{used} s kept of {limit} s")
        everything = self.case(self.ds, "1000h").ranked
        _true(
            everything[: len(sel)].tolist() == sel.ranked.tolist(), "the kept rows are no prefix of the order of choice"
        )
        if len(sel) < len(self.ds):
            _true(used + seconds[everything[len(sel)]] > limit, "the next row would have fitted")
        _true(abs(sel.facts["slack_seconds"] - (limit - used)) < 1e-6, "the slack is not reported")

    def refuses_budget(self, budget: Any) -> None:
        self.fails("share", "2.5h", repr(budget), budget=budget)

    def nested(self) -> None:
        for small, large in ((1, 2), (5, 30), (0.1, 0.5), ("5s", "30s"), (0.5, 1.0)):
            few, many = self.case(self.ds, small), self.case(self.ds, large)
            _true(many.ranked[: len(few)].tolist() == few.ranked.tolist(), f"{small} is no prefix of {large}")
            _true(
                many.take(small, ds=self.ds).indices.tolist() == few.indices.tolist(),
                f"take({small}) of {large} differs",
            )

    def check_more_rows_than_there_are_keeps_all_and_warns(self) -> None:
        sel = self.case(self.ds, 61)
        _true(len(sel) == 60 and any("61" in w for w in sel.warnings), f"{len(sel)} rows, warnings {sel.warnings}")

    def check_share_per_group_is_exact_in_total(self) -> None:
        sel = self.case(self.ds, 0.5, per="label")
        kept = np.array(self.ds["label"])[sel.indices]
        _true(len(sel) == 30 and (kept == "yes").sum() == 20, f"{len(sel)} rows, {(kept == 'yes').sum()} of 'yes'")

    def check_rows_per_group_keep_that_many_in_each(self) -> None:
        kept = np.array(self.ds["speaker"])[self.case(self.ds, 3, per="speaker").indices]
        _true(
            set(np.unique(kept, return_counts=True)[1]) == {3} and len(kept) == 21, "not 3 rows of each of 7 speakers"
        )

    def check_small_group_gives_all_and_warns(self) -> None:
        sel = self.case(self.ds, 25, per="label")
        _true(len(sel) == 45 and any("no (20)" in w for w in sel.warnings), f"{len(sel)} rows, warnings {sel.warnings}")

    def check_audio_per_group_holds_in_each(self) -> None:
        sel = self.case(self.ds, "10s", per="label")
        labels, seconds = np.array(self.ds["label"])[sel.indices], np.array(self.ds["duration"])[sel.indices]
        for name in ("yes", "no"):
            used = seconds[labels == name].sum()
            _true(10 - 2.5 < used <= 10, f"{used} s of {name!r}")

    # -- the record ------------------------------------------------------------------------------------------------

    def check_returns_a_Selection(self) -> None:
        _true(isinstance(self.case(self.ds, 0.5), Selection), "it returns something else")

    def check_indices_are_sorted_unique_int64_in_range(self) -> None:
        rows = self.case(self.ds, 0.5).indices
        _true(rows.dtype == np.int64 and (np.diff(rows) > 0).all() and rows.min() >= 0 and rows.max() < 60, f"{rows}")

    def check_order_is_a_permutation(self) -> None:
        sel = self.case(self.ds, 0.5)
        _true(sorted(sel.order.tolist()) == list(range(len(sel))), "order is no permutation of the ranks")

    def check_there_is_a_key_score_and_group_for_every_row(self) -> None:
        sel = self.case(self.ds, 0.5)
        _true(len(sel.key) == len(sel.score) == len(sel.group) == 60, "one of them has another length")

    def check_keys_are_unique(self) -> None:
        _true(len(set(self.case(self.ds, 0.5).key.to_pylist())) == 60, "two rows share a key")

    def check_score_is_float64(self) -> None:
        _true(self.case(self.ds, 0.5).score.dtype == np.float64, "it is not")

    def check_record_is_plain_json(self) -> None:
        json.loads(json.dumps(self.case(self.ds, 0.5).record()))

    def check_record_names_method_budget_and_source(self) -> None:
        sel = self.case(self.ds, "50%")
        _true(sel.method and sel.budget == "50%" and sel.source["num_rows"] == 60, f"{sel.record()}")
        _true(sel.source["fingerprint"] == self.ds._fingerprint, "the fingerprint of the source is not recorded")

    def check_seed_is_recorded(self) -> None:
        _true(self.case(self.ds, 0.5, seed=5).seed == 5, "it is not")

    def check_seconds_and_versions_are_recorded(self) -> None:
        sel = self.case(self.ds, 0.5)
        _true(sel.seconds >= 0 and "hf-select" in sel.versions, "they are not")

    def check_hours_are_reported(self) -> None:
        sel = self.case(self.ds, 1.0)
        _true(abs(sel.facts["kept_hours"] * 3600 - sum(self.ds["duration"])) < 1e-6, f"{sel.facts}")

    def check_prints_readably(self) -> None:
        _true("30 of 60 rows" in str(self.case(self.ds, 0.5)), "the numbers of rows are not in its text")

    def check_pickles_to_an_equal_one(self) -> None:
        sel = self.case(self.ds, 0.5)
        _true(pickle.loads(pickle.dumps(sel)) == sel, "it does not")  # noqa: S301 (our own bytes)

    def check_saves_and_loads_to_an_equal_one(self) -> None:
        sel = self.case(self.ds, 0.5)
        with tempfile.TemporaryDirectory() as folder:
            sel.save(folder)
            _true(Selection.load(folder) == sel, "it does not")

    # -- what it must not do ---------------------------------------------------------------------------------------

    def check_same_seed_same_rows(self) -> None:
        _true(self.case(self.ds, 0.5, seed=3) == self.case(self.ds, 0.5, seed=3), "two calls differ")

    def another_seed(self) -> None:
        _true(self.case(self.ds, 0.5, seed=1) != self.case(self.ds, 0.5, seed=2), "seeds 1 and 2 agree")

    def check_dataset_is_left_as_it_was(self) -> None:
        before = (self.ds._fingerprint, self.ds.column_names, self.ds.data.table.to_pydict())
        self.case(self.ds, 0.5)
        _true(before == (self.ds._fingerprint, self.ds.column_names, self.ds.data.table.to_pydict()), "it changed")

    def check_global_randomness_is_left_alone(self) -> None:
        np.random.random()  # noqa: NPY002 (off a state that a selector may have set by seeding)
        before = np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
        self.case(self.ds, 0.5)
        _true((np.random.get_state(legacy=False)["state"]["key"] == before).all(), "numpy's global generator moved")  # noqa: NPY002

    def check_format_does_not_matter(self) -> None:
        sel = self.case(self.ds, 0.5)
        for name in ("numpy", "arrow", "pandas"):
            _true((self.case(self.ds.with_format(name), 0.5).indices == sel.indices).all(), f"{name} gives other rows")

    def check_hidden_columns_do_not_matter(self) -> None:
        _true(
            len(self.case(self.ds.with_transform(lambda batch: {"x": batch["id"]}), 0.5)) == 30,
            "set_transform disturbs it",
        )

    def check_indices_mapping_does_not_matter(self) -> None:
        mixed = self.ds.shuffle(seed=4).select(range(40))
        _true(
            self.case(mixed, 0.5).indices.tolist() == self.case(mixed.flatten_indices(), 0.5).indices.tolist(),
            "it does",
        )

    # -- bad rows and bad input ------------------------------------------------------------------------------------

    def check_rows_with_a_reason_are_never_chosen(self) -> None:
        status = ["ok" if i % 4 else "unreadable: lost sync" for i in range(60)]
        sel = self.case(self.ds.add_column("audio_status", status), 1.0)
        _true(len(sel) == 45 and not (sel.indices % 4 == 0).any(), "a bad row was chosen, or a good one left")
        _true(sel.excluded == {"unreadable: lost sync": 15}, f"reported as {sel.excluded}")

    def check_share_counts_all_rows(self) -> None:
        status = ["ok"] * 50 + ["silent"] * 10
        _true(len(self.case(self.ds.add_column("audio_status", status), 0.5)) == 30, "a share is a share of all rows")

    def check_audio_needs_durations(self) -> None:
        self.fails("duration", "hs.Duration()", ds=self.ds.remove_columns("duration"), budget="5s")

    def check_rows_without_duration_are_set_aside(self) -> None:
        seconds = [None, *self.ds["duration"][1:]]
        sel = self.case(self.ds.remove_columns("duration").add_column("duration", seconds), "10h")
        _true(0 not in sel.indices and sel.excluded == {"no duration": 1}, f"{sel.excluded}")

    def check_negative_duration_is_an_error(self) -> None:
        seconds = [-1.0, *self.ds["duration"][1:]]
        self.fails("row 0", ds=self.ds.remove_columns("duration").add_column("duration", seconds), budget="10s")

    def check_unknown_per_names_the_columns(self) -> None:
        self.fails("nowhere", "speaker", per="nowhere")

    def check_unknown_key_names_the_columns(self) -> None:
        self.fails("nowhere", "speaker", key="nowhere")

    def check_bad_seed_is_an_error(self) -> None:
        self.fails("seed", seed=-1)

    def check_DatasetDict_is_an_error_that_says_what_to_do(self) -> None:
        from datasets import DatasetDict

        self.fails("train", ds=DatasetDict(train=self.ds))

    def check_stream_is_an_error(self) -> None:
        self.fails("IterableDataset", ds=self.ds.to_iterable_dataset())

    def check_list_is_an_error(self) -> None:
        self.fails("list", ds=[1, 2, 3])

    def check_few_rows_give_an_answer_or_a_clear_error(self) -> None:
        for number in (1, 2):
            try:
                sel = self.case(self.rows(number), number)
            except HfSelectError:
                continue
            _true(len(sel) == number, f"{len(sel)} of {number} rows")

    def check_duplicated_rows_are_chosen_once_each(self) -> None:
        from datasets import concatenate_datasets

        twice = concatenate_datasets([self.ds, self.ds])
        sel = self.case(twice, 0.5)
        _true(len(sel) == 60 and len(set(sel.indices.tolist())) == 60, "not 60 different rows")

    # -- what it is good for ---------------------------------------------------------------------------------------

    def check_apply_filter_and_mark_agree(self) -> None:
        sel = self.case(self.ds, 0.3)
        names = [self.ds["id"][i] for i in sel.indices]
        _true(sel.apply(self.ds)["id"][:] == names, "apply gives other rows")
        _true(self.ds.filter(sel, with_indices=True, batched=True)["id"][:] == names, "filter gives other rows")
        marked = sel.mark(self.ds)
        _true(
            [i for i, kept in zip(marked["id"], marked["selected"], strict=True) if kept] == names,
            "mark marks other rows",
        )

    def check_apply_matches_reordered_rows(self) -> None:
        sel = self.case(self.ds, 0.3)
        mixed = sel.apply(self.ds.shuffle(seed=8))
        _true(sorted(mixed["id"]) == sorted(sel.apply(self.ds)["id"]), "other rows after a shuffle")

    def check_apply_to_a_stream_keeps_the_same_rows(self) -> None:
        from datasets import Audio

        sel = self.case(self.ds, 0.3, key="id")
        stream = sel.apply(self.ds.cast_column("audio", Audio(decode=False)).to_iterable_dataset(num_shards=3))
        names = [row["id"] for row in stream.remove_columns("audio")]
        _true(sorted(names) == sorted(sel.apply(self.ds)["id"]), "other rows from a stream")

    def check_apply_refuses_other_data(self) -> None:
        other = self.rows(60, seed=1).remove_columns("id").add_column("id", [f"x{i}" for i in range(60)])
        try:
            self.case(self.ds, 0.3, key="id").apply(other)
        except HfSelectError as error:
            _true("unknown" in str(error), str(error))
        else:
            raise ContractError("it was applied")

    def permuted(self) -> None:
        mixed = self.ds.shuffle(seed=9)
        first, second = self.case(self.ds, 0.4).apply(self.ds)["id"], self.case(mixed, 0.4).apply(mixed)["id"]
        _true(set(first) == set(second), "another set of rows")

    # -- the column it reads ---------------------------------------------------------------------------------------

    def missing_column(self) -> None:
        self.fails(repr(self.case.column), "speaker", ds=self.ds.remove_columns(str(self.case.column)))

    def text_column(self) -> None:
        ds = self.ds.remove_columns(str(self.case.column)).add_column(str(self.case.column), ["yes"] * 60)
        self.fails(repr(self.case.column), "needed", ds=ds)

    def nulls(self) -> None:
        name = str(self.case.column)
        values = [None, *self.ds[name][1:]]
        sel = self.case(self.ds.remove_columns(name).add_column(name, values), 1.0)
        _true(len(sel) == 59 and 0 not in sel.indices and sum(sel.excluded.values()) == 1, f"{sel.excluded}")

    def nans(self) -> None:
        def poison(values: np.ndarray) -> Any:
            values[0] = np.nan
            return values.tolist()

        sel = self.case(self.with_values(poison), 1.0)
        _true(len(sel) == 59 and 0 not in sel.indices and sum(sel.excluded.values()) == 1, f"{sel.excluded}")

    def infinities(self) -> None:
        def poison(values: np.ndarray) -> Any:
            values[0] = np.inf
            return values.tolist()

        sel = self.case(self.with_values(poison), 0.5)
        _true(
            len(sel) == 30 and (self.case.values != "vectors" or 0 not in sel.indices), "an infinite vector was chosen"
        )

    def all_equal(self) -> None:
        try:
            sel = self.case(self.with_values(lambda values: np.ones_like(values).tolist()), 0.5)
        except HfSelectError:
            return
        _true(len(sel) == 30, f"{len(sel)} rows of 60 equal ones instead of 30")

    def scaled(self) -> None:
        sel, scaled = self.case(self.ds, 0.4), self.case(self.with_values(lambda values: (8 * values).tolist()), 0.4)
        _true(sel.indices.tolist() == scaled.indices.tolist(), "another set of rows")
