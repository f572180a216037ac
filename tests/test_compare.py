"""Records outlive crashes and never mix cells up; differences are called by Student's limit; nu is the slope."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hf_select.compare import Records, compare_sets, name_of, paired, scaling_exponent, scaling_exponents, to_markdown
from hf_select.errors import ArgumentError, OutputError


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


def test_markdown_keeps_cells_whole():
    text = to_markdown([{"name": "a|b", "n": "1.5"}, {"name": "c", "n": "-2"}])
    assert text.splitlines() == ["| name | n |", "|---|--:|", "| a\\|b | 1.5 |", "| c | -2 |"]
