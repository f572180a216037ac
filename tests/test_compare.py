"""Records outlive crashes, cells are run once; differences are called by Student's limit and Holm's rule; nu is the slope."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hf_select.compare import (
    Records,
    compare_sets,
    differences,
    differences_to_markdown,
    finished,
    holm,
    mean_table,
    name_of,
    paired,
    run_cells,
    scaling_exponent,
    scaling_exponents,
    timed,
    to_markdown,
)
from hf_select.errors import ArgumentError, ColumnError, OutputError

CELLS = [
    {"method": method, "k": k, "seed": seed} for seed in (0, 1) for method, k in (("a", 2), ("b", 2), ("all", None))
]


def test_names_tell_everything_apart():
    rows = np.arange(6)
    things = [
        (rows,), (rows.astype(np.int32),), (rows.reshape(2, 3),), (rows[:5],), ({"a": 1},), ({"a": "1"},), (rows, {"a": 1})
    ]  # fmt: skip
    assert len({name_of(*some) for some in things}) == len(things)
    assert name_of({"a": 1, "b": 2}) == name_of({"b": 2, "a": 1})
    assert name_of(rows[::2]) == name_of(rows[::2].copy())  # whatever its memory looks like


def test_records_are_found_again_whoever_wrote_them(tmp_path):
    first, second = Records(tmp_path), Records(tmp_path, rank=1)
    first.keep("a", {"loss": 0.5})
    second.keep("b", {"loss": math.nan})
    assert dict(first) == {"a": {"loss": 0.5}} and "b" not in first
    again = Records(tmp_path)
    assert sorted(again) == ["a", "b"] and again["a"] == {"loss": 0.5} and math.isnan(again["b"]["loss"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["records-1.jsonl", "records.jsonl"]


@pytest.mark.parametrize("cut", range(1, 40, 6))
def test_a_line_that_was_cut_off_costs_itself_alone(tmp_path, cut):
    records = Records(tmp_path)
    for name in ("a", "b"):
        records.keep(name, {"loss": 1.25, "rows": 100})
    file = tmp_path / "records.jsonl"
    file.write_bytes(file.read_bytes()[:-cut])  # as if killed while "b" was written
    after = Records(tmp_path)
    after.keep("c", {"loss": 2.0})
    assert set(Records(tmp_path)) - {"b"} == {"a", "c"}
    assert ("b" in Records(tmp_path)) == (cut == 1)  # all of it was there but the end of the line
    assert json.loads(file.read_text().splitlines()[0])["loss"] == 1.25


def test_records_need_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't be read"):
        Records(tmp_path / "file")


def test_a_record_keeps_numbers_of_numpy_but_not_its_own_name(tmp_path):
    records = Records(tmp_path)
    records.keep("a", {"rows": np.int64(3), "loss": np.float32(0.5), "ok": np.bool_(True)})
    assert Records(tmp_path)["a"] == {"rows": 3, "loss": 0.5, "ok": True}
    with pytest.raises(ArgumentError, match="can't hold 'name'"):
        records.keep("b", {"name": "c"})
    with pytest.raises(TypeError, match="ndarray"):
        records.keep("b", {"rows": np.arange(3)})
    assert name_of({"k": np.int64(2)}) == name_of({"k": 2})


class Work:
    """Numbers that tell the cell, and a list of what was run."""

    def __init__(self, fails_at: int = -1, error: BaseException | None = None) -> None:
        self.ran, self.fails_at, self.error = [], fails_at, error

    def __call__(self, cell):
        if len(self.ran) == self.fails_at:
            raise self.error
        self.ran.append(dict(cell))
        found = {"loss": np.float64(cell["seed"] + len(cell["method"]) / 7), "rows": np.int64(cell["k"] or 9)}
        cell.clear()  # work may do what it likes with its copy
        return found


def test_cells_are_run_once_and_stand_in_their_order(tmp_path):
    work, told = Work(), []
    table = run_cells(CELLS, work, Records(tmp_path), on_done=lambda *done: told.append(done))
    assert work.ran == CELLS and table["rows"].tolist() == [2, 2, 9] * 2
    assert list(table.columns) == ["method", "k", "seed", "loss", "rows"] and table["seed"].tolist() == [
        0,
        0,
        0,
        1,
        1,
        1,
    ]
    assert [(number, of) for number, of, _ in told] == [(place, 6) for place in range(1, 7)]
    assert told[3][2] == {**CELLS[3], "loss": 1 + 1 / 7, "rows": 2}
    again = Work()
    pd.testing.assert_frame_equal(run_cells(CELLS[::-1], again, Records(tmp_path)), table[::-1].reset_index(drop=True))
    more = [*CELLS, {"method": "b", "k": 3, "seed": 0}]
    assert len(run_cells(more, again, Records(tmp_path))) == 7 and again.ran == more[6:]
    line = json.loads((tmp_path / "records.jsonl").read_text().splitlines()[0])
    assert line == {"name": name_of(CELLS[0]), **CELLS[0], "loss": 1 / 7, "rows": 2}


@pytest.mark.parametrize("error", [ValueError("too warm"), OSError("no disk"), KeyboardInterrupt()])
def test_what_is_finished_is_kept_when_one_fails(tmp_path, error):
    first, second = Work(fails_at=3, error=error), Work()
    with pytest.raises(type(error)) as found:
        run_cells(CELLS, first, Records(tmp_path))
    assert found.value is error
    note = "".join(getattr(error, "__notes__", []))
    if isinstance(error, Exception):
        assert '4 of the 6 that were missing, {"method": "a", "k": 2, "seed": 1}. 3 of 6 cells are finished' in note
    else:
        assert not note
    table = run_cells(CELLS, second, Records(tmp_path))
    assert first.ran + second.ran == CELLS
    pd.testing.assert_frame_equal(table, run_cells(CELLS, Work(), Records(tmp_path / "whole")))


@pytest.mark.parametrize("world", [2, 3, 4, 8])
def test_shares_together_are_one_run(tmp_path, world):
    works = [Work() for _ in range(world)]
    opened = [Records(tmp_path, rank) for rank in range(world)]  # none sees what the others will write
    tables = [run_cells(CELLS, works[rank], opened[rank], share=(rank, world)) for rank in range(world)]
    assert [work.ran for work in works] == [CELLS[rank::world] for rank in range(world)]
    assert [len(table) for table in tables] == [len(CELLS[rank::world]) for rank in range(world)]
    whole = run_cells(CELLS, Work(), Records(tmp_path / "whole"))
    pd.testing.assert_frame_equal(finished(CELLS, Records(tmp_path)), whole)
    late = Work()
    pd.testing.assert_frame_equal(run_cells(CELLS, late, Records(tmp_path, 1), share=(1, 2)), whole)  # other shares
    assert not late.ran


def test_a_name_holds_what_else_makes_the_numbers(tmp_path):
    for settings in ({"epochs": 1}, {"epochs": 2}):
        work = Work()
        run_cells(CELLS, work, Records(tmp_path), name=lambda cell, own=settings: name_of(cell, own))
        assert work.ran == CELLS
    assert len(Records(tmp_path)) == 12


def test_cells_that_can_not_be_run_are_refused_before_any_is(tmp_path):
    records, work = Records(tmp_path), Work()
    for cells, message in (
        ([*CELLS, CELLS[1]], 'Cells 1 and 6 would share one record: {"method": "b"'),
        ([*CELLS, {"seed": np.arange(2)}], "dict of JSON values"),
        ([*CELLS, "a"], "dict of JSON values; got 'a'"),
    ):
        with pytest.raises(ArgumentError, match=message):
            run_cells(cells, work, records)
    for share in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(ArgumentError, match="rank < world"):
            run_cells(CELLS, work, records, share=share)
    assert not work.ran and len(finished(CELLS, records)) == len(run_cells([], work, records)) == 0
    for result, message in ((None, "got NoneType"), ({"seed": 1}, "'seed', which the cell has already")):
        with pytest.raises(ArgumentError, match=message) as found:
            run_cells(CELLS, lambda cell, own=result: own, records)
        assert "cell 1 of the 6" in found.value.__notes__[0]


def test_seconds_add_up_also_where_a_block_fails(monkeypatch):
    now = iter([0.0, 1.5, 10.0, 12.0, 20.0, 20.25])
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    spent = {}
    with timed(spent, "select_seconds"):
        pass
    with pytest.raises(ValueError, match="x"), timed(spent, "train_seconds"):
        raise ValueError("x")
    with timed(spent, "select_seconds"):
        pass
    assert spent == {"select_seconds": 1.75, "train_seconds": 2.0}


def test_a_difference_is_called_as_by_the_t_test():
    rng = np.random.default_rng(0)
    called = 0
    for _ in range(400):
        first, second = rng.normal(0.3, 1, (2, 5))
        found = paired(first.tolist(), second.tolist())
        p = stats.ttest_rel(first, second).pvalue
        assert found.is_clear == (p < 0.05)
        assert found.mean == pytest.approx((first - second).mean())
        assert found.error == pytest.approx(stats.sem(first - second))
        interval = stats.ttest_rel(first, second).confidence_interval(0.95)
        assert (found.low, found.high, found.p) == pytest.approx((interval.low, interval.high, p))
        called += found.is_clear
    assert 8 <= called <= 34  # there is no difference: 20 are expected


def test_with_many_seeds_two_standard_errors_count():
    numbers = np.tile([0.0, 1.0], 200)
    assert paired(numbers.tolist(), [0.0] * 400).limit == pytest.approx(2 * stats.sem(numbers))


def test_verdicts():
    better = paired([1.0, 1.1, 1.05], [2.0, 2.1, 2.06])
    assert better.verdict(-1) == "better" and better.verdict(1) == "worse"
    alone = paired([1.0], [2.0])
    assert alone.verdict() == "not told apart" and str(alone) == "-1.000"
    with pytest.raises(ArgumentError, match="3 and 2"):
        paired([1, 2, 3], [1, 2])


def test_intervals_and_p_at_their_ends():
    alone, same, shifted = paired([1.0], [2.0]), paired([1.0, 2.0], [1.0, 2.0]), paired([2.0, 3.0], [1.0, 2.0])
    assert np.isnan([alone.low, alone.high, alone.p]).all()
    assert (same.low, same.high, same.p, same.is_clear) == (0, 0, 1, False)
    assert (shifted.low, shifted.high, shifted.p, shifted.is_clear) == (1, 1, 0, True)


def by_hand(p: list[float]) -> list[float]:
    """Holm's rule as in the paper: the smallest p against all, the next against one less, none below one before it."""
    adjusted, largest = [math.nan] * len(p), 0.0
    left = [place for place in range(len(p)) if not math.isnan(p[place])]
    while left:
        least = min(left, key=lambda place: p[place])
        largest = max(largest, min(1.0, p[least] * len(left)))
        adjusted[least] = largest
        left.remove(least)
    return adjusted


def test_holm_is_the_rule_done_by_hand():
    rng = np.random.default_rng(0)
    for count in (0, 1, 2, 5, 40):
        for scale in (1.0, 0.02):
            p = rng.uniform(0, scale, count).round(3)
            p[rng.random(count) < 0.2] = math.nan
            assert holm(p) == pytest.approx(by_hand(p.tolist()), nan_ok=True)
    p = [0.01, 0.04, 0.03, 0.005]  # worked out: 0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 x 1 may not fall below 0.06
    assert holm(p).round(9).tolist() == [0.03, 0.06, 0.06, 0.02] and p == [0.01, 0.04, 0.03, 0.005]


def acquired(none: object, seeds: int = 4) -> pd.DataFrame:
    """Methods over k, and two sets that know no k."""
    rng = np.random.default_rng(2)
    cells = [
        {"method": method, "k": k, "seed": seed, "accuracy": 0.9 + rng.normal() / 50, "wer": 0.3 + rng.normal() / 50}
        for seed in range(seeds)
        for method in ("original", "random", "ours", "clusters", "all")
        for k in ((none,) if method in ("original", "all") else (2, 3))
    ]
    cells = pd.DataFrame(cells)
    cells.loc[cells["method"] == "ours", "wer"] -= 0.15
    return cells


@pytest.mark.parametrize("none", [None, math.nan, "-"])
def test_one_method_against_every_other_at_every_k(none):
    cells = acquired(none)
    table = differences(cells, ours="ours", by=["k"], measures={"accuracy": 1, "wer": -1})
    others = ("original", "random", "clusters", "all")
    order = [(k, other, name) for k in (2, 3) for other in others for name in ("accuracy", "wer")]
    assert list(table[["k", "against", "measure"]].itertuples(index=False, name=None)) == order
    for line in table.to_dict("records"):
        own = cells[(cells["method"] == "ours") & (cells["k"] == line["k"])]
        there = cells[cells["method"] == line["against"]]
        there = there if line["against"] in ("original", "all") else there[there["k"] == line["k"]]
        test = stats.ttest_rel(own[line["measure"]], there[line["measure"]])
        interval = test.confidence_interval(0.95)
        assert (line["low"], line["high"], line["p"]) == pytest.approx((interval.low, interval.high, test.pvalue))
        sides = ("better", "worse") if line["measure"] == "accuracy" else ("worse", "better")
        assert line["verdict"] == ("not told apart" if test.pvalue >= 0.05 else sides[line["mean"] < 0])
        assert line["pairs"] == 4
        clear = line["p_holm"] < 0.05
        assert line["verdict_holm"] == (line["verdict"] if clear else "not told apart")
    assert table["p_holm"].tolist() == pytest.approx(by_hand(table["p"].tolist()))
    told, left = ((table[name] != "not told apart").sum() for name in ("verdict", "verdict_holm"))
    assert 0 < left < told
    text = differences_to_markdown(table, "ours", digits={"accuracy": 2})
    assert f"\n{told} of 16 comparisons are told apart; by chance alone 0.8 would be." in text
    assert f"for all of them {left} are left (bold)." in text and text.count("**better**") == left
    found = table.iloc[1]
    said = f"{found['mean']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}], "
    assert said in text and f"| 2 | original | 4 | {round(table['mean'][0], 2) + 0.0:+.2f} [" in text


def test_only_seeds_of_both_sides_are_paired():
    cells = acquired(None)
    cells.loc[(cells["method"] == "ours") & (cells["seed"] == 0) & (cells["k"] == 2), "accuracy"] = math.nan
    gone = (cells["method"] == "random") & (cells["seed"] < 2) | (cells["method"] == "all") & (cells["seed"] > 0)
    lonely = (cells["method"] == "clusters") & (cells["k"] == 2)
    cells = cells[~gone].assign(seed=cells["seed"].where(~lonely, cells["seed"] + 10))
    cells = cells.sample(frac=1, random_state=0)  # pairs go by seeds and not by places
    table = differences(cells, ours="ours", by=["k"], measures={"accuracy": 1}).set_index(["k", "against"])
    assert table["pairs"].to_dict() == {
        (2, "original"): 3, (2, "random"): 2, (2, "all"): 0, (2, "clusters"): 0,
        (3, "original"): 4, (3, "random"): 2, (3, "all"): 1, (3, "clusters"): 4,
    }  # fmt: skip
    own, there = (cells[(cells["method"] == name) & (cells["k"] == 3)].set_index("seed") for name in ("ours", "random"))
    found = table.loc[(3, "random")]
    assert found["mean"] == pytest.approx((own["accuracy"] - there["accuracy"]).dropna().mean())
    none, one = table.loc[(2, "clusters")], table.loc[(3, "all")]
    assert none[["mean", "error", "low", "high", "p", "p_holm"]].isna().all() and none["verdict"] == "not told apart"
    assert one[["error", "low", "high", "p", "p_holm"]].isna().all() and not math.isnan(one["mean"])
    assert table["p_holm"].to_numpy() == pytest.approx(by_hand(table["p"].tolist()), nan_ok=True)
    text = differences_to_markdown(table.reset_index(), "ours")
    assert "of 5 comparisons" in text and "3 more can't be tested: they have fewer than two pairs." in text
    assert "| 2 | clusters | 0 | - |" in text and f"| 3 | all | 1 | {one['mean']:+.3f}, not told apart |" in text


def test_pairs_agree_in_every_column_and_in_none():
    cells = pd.concat([acquired("-").assign(size=size) for size in ("s", "l")])
    cells = cells.assign(accuracy=np.random.default_rng(3).normal(size=len(cells)))
    table = differences(cells, ours="ours", others=["all", "random"], by=["size", "k"], measures={"accuracy": 1})
    assert len(table) == 8 and set(table["against"]) == {"all", "random"}
    for line in table.to_dict("records"):
        same = cells[cells["size"] == line["size"]]
        own, there = (
            same[(same["method"] == "ours") & (same["k"] == line["k"])],
            same[same["method"] == line["against"]],
        )
        there = there[there["k"].isin([line["k"], "-"])]
        assert line["mean"] == pytest.approx(own["accuracy"].mean() - there["accuracy"].mean())
    flat = cells[(cells["size"] == "s") & (cells["k"] != 3)].rename(columns={"method": "approach"})
    table = differences(flat, ours="ours", by=[], measures={"accuracy": 1}, method="approach")
    assert list(table["against"]) == ["original", "random", "clusters", "all"]
    assert differences_to_markdown(table, "ours").splitlines()[2] == "| against | pairs | accuracy |"


def test_what_can_not_be_compared_is_said():
    cells, asked = acquired(None), {"ours": "ours", "by": ["k"], "measures": {"accuracy": 1}}
    for changed, message in (
        ({"ours": "mine"}, "No cell is of the method 'mine'; there are original, random"),
        ({"others": ["randon"]}, "method 'randon'"),
        ({"measures": {"accuracy": 2}}, "1 where more is better"),
        ({"by": []}, "'ours' has two cells of seed 0"),
        ({"ours": "all", "others": ["random"]}, "No other method agrees with 'all' in k"),
    ):
        with pytest.raises(ArgumentError, match=message):
            differences(cells, **{**asked, **changed})
    with pytest.raises(ArgumentError, match="'original' at k 2 has two cells of seed 3"):
        differences(pd.concat([cells, cells[(cells["method"] == "original") & (cells["seed"] == 3)]]), **asked)
    for name in ("seed", "k", "accuracy", "method"):
        with pytest.raises(ColumnError, match=f"no column '{name}'; they have"):
            differences(cells.drop(columns=name), **asked)


def test_exponent_is_the_slope():
    rows = [500, 700, 900]
    assert scaling_exponent(rows, [3 * n**-0.4 for n in rows]) == pytest.approx(0.4)
    noisy = [2.0, 1.7, 1.1]
    assert scaling_exponent(rows, noisy) == pytest.approx(-stats.linregress(np.log(rows), np.log(noisy)).slope)
    for wrong in (([5, 5], [1, 2]), ([5, 6], [0, 2])):
        with pytest.raises(ArgumentError, match="two different"):
            scaling_exponent(*wrong)


def test_tables_hold_what_the_cells_hold():
    rng = np.random.default_rng(1)
    cells = pd.DataFrame(
        [
            {"method": method, "of": of, "share": share, "seed": seed, "rows": int(100 * share), "loss": rng.uniform(1, 2)}
            for method, of in (("mine", "a"), ("mine", "b"), ("random", ""), ("all", ""))
            for share in ((1.0,) if method == "all" else (0.5, 0.7, 0.9))
            for seed in (3, 1, 2)
        ]
    )  # fmt: skip
    table, text = compare_sets(
        cells.sample(frac=1, random_state=0), ["method", "of", "share"], numbers={"loss": 3}, control="random", measures={"loss": -1}
    )  # fmt: skip
    for _, line in table.iterrows():
        same = (cells["method"] == line["method"]) & (cells["of"] == line["of"]) & (cells["share"] == line["share"])
        own = cells[same].sort_values("seed")["loss"].to_numpy()
        assert line["loss"] == pytest.approx(own.mean()) and line["loss_sd"] == pytest.approx(own.std(ddof=1))
        assert f"{own.mean():.3f} ± {own.std(ddof=1):.3f}" in text
        if line["method"] == "mine":
            random = cells[(cells["method"] == "random") & (cells["share"] == line["share"])].sort_values("seed")[
                "loss"
            ]
            assert line["loss_apart"] == pytest.approx((own - random.to_numpy()).mean())
            assert line["loss_error"] == pytest.approx(stats.sem(own - random.to_numpy()))
        else:
            assert pd.isna(line["loss_apart"])  # the control itself, and a set that has none
    assert "of 6 comparisons are told apart; by chance alone 0.3 would be" in text
    assert [line["rows"] for line in scaling_exponents(cells, ["method", "of"])] == ["50 to 90"] * 3


def test_means_stand_in_the_order_of_first_appearance_with_the_best_bold():
    cells = acquired(None).assign(rows=10)
    numbers, measures = {"rows": 0, "accuracy": 3, "wer": 2}, {"accuracy": 1, "wer": -1}
    table, text = mean_table(cells, ["k", "method"], numbers=numbers, measures=measures, best_within=["k"])
    keys = list(table[["k", "method"]].itertuples(index=False, name=None))
    order = [("-", "original"), *((k, name) for name in ("random", "ours", "clusters") for k in (2, 3)), ("-", "all")]
    assert keys == order and table["seeds"].tolist() == [4] * 8
    lines = dict(zip(keys, text.splitlines()[2:], strict=True))
    at = {k: table[table["k"] == k] for k in (2, 3)}
    best = {k: (own["accuracy"].idxmax(), own["wer"].idxmin()) for k, own in at.items()}
    for place, ((k, name), line) in enumerate(lines.items()):
        own = cells[(cells["method"] == name) & ((cells["k"] == k) | (k == "-"))]
        found = table.iloc[place]
        assert found["accuracy"] == pytest.approx(own["accuracy"].mean())
        assert found["wer_sd"] == pytest.approx(own["wer"].std(ddof=1))
        shown = [f"{own['accuracy'].mean():.3f}", f"{own['wer'].mean():.2f}"]
        bold = [k != "-" and place == where for where in best.get(k, (-1, -1))]
        shown = [f"**{mean}**" if is_bold else mean for mean, is_bold in zip(shown, bold, strict=True)]
        spread = [f"{own['accuracy'].std():.3f}", f"{own['wer'].std():.2f}"]
        assert line == f"| {k} | {name} | 10 | {shown[0]} ± {spread[0]} | {shown[1]} ± {spread[1]} |"
    assert text.splitlines()[1] == "|--:|---|--:|--:|--:|"
    plain = mean_table(cells, ["k", "method"], numbers=numbers, measures=measures)[1]
    assert plain == text.replace("*", "")


def test_best_means_that_look_equal_are_both_bold():
    cells = pd.DataFrame({"set": ["a", "a", "b", "b", "c"], "loss": [1.0, 1.2, 1.1, 1.1004, 1.2], "none": math.nan})
    text = mean_table(cells, ["set"], numbers={"loss": 2, "none": 1}, measures={"loss": -1, "none": 1}, best_within=[])[
        1
    ]
    assert text.splitlines()[2:] == [
        "| a | **1.10** ± 0.14 | - | 2 |", "| b | **1.10** ± 0.00 | - | 2 |", "| c | 1.20 | - | 1 |"
    ]  # fmt: skip


def test_tables_say_what_they_lack():
    cells = acquired(None)
    for changed, message in (
        ({"measures": {"loss": -1}}, "'loss' is not"),
        ({"measures": {"accuracy": 0}}, "1 where more is better"),
        ({"best_within": ["size"]}, "columns of by= .k, method.; got size"),
    ):
        with pytest.raises(ArgumentError, match=message):
            mean_table(cells, ["k", "method"], numbers={"accuracy": 2}, **changed)
    with pytest.raises(ColumnError, match="no column 'rows'"):
        mean_table(cells, ["k"], numbers={"rows": 0})
    table, text = mean_table(cells.iloc[:0], ["k"], numbers={"accuracy": 0})
    assert len(table) == 0 and text == ""
    twice = pd.DataFrame({"method": ["a", "r", "r"], "of": "", "seed": [0, 0, 0], "loss": 1.0})
    with pytest.raises(ArgumentError, match="two cells that agree in seed"):
        compare_sets(twice, ["method", "of"], numbers={"loss": 1}, control="r", measures={"loss": 1})


def test_a_control_may_have_no_other_column_than_its_name():
    cells = pd.DataFrame({"method": ["a", "a", "r", "r"], "of": "", "seed": [0, 1, 1, 0], "loss": [1.0, 2.0, 4.5, 3.0]})
    table, _ = compare_sets(cells, ["method", "of"], numbers={"loss": 1}, control="r", measures={"loss": -1})
    assert table["loss_apart"][0] == -2.25 and pd.isna(table["loss_apart"][1])


def test_markdown_keeps_cells_whole():
    text = to_markdown([{"name": "a|b", "n": "1.5"}, {"name": "c", "n": "-2"}])
    assert text.splitlines() == ["| name | n |", "|---|--:|", "| a\\|b | 1.5 |", "| c | -2 |"]
