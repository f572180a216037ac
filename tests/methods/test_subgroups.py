"""select_subgroups: the union, exact budgets, both ways to fill one, and who asked for each row."""

from __future__ import annotations

import time

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

import hf_select as hs
from hf_select.errors import ArgumentError, ColumnError
from hf_select.subgroups.conditions import Condition


def subgroup(divergence: float, count: int, **pattern: str) -> hs.Subgroup:
    conditions = tuple(Condition(name, value) for name, value in pattern.items())
    return hs.Subgroup(conditions, divergence=divergence, count=count)


WOMEN, OLD = subgroup(-0.4, 10, gender="f"), subgroup(-0.2, 30, age="old")
POOL = Dataset.from_dict(
    {
        "id": [f"r{i}" for i in range(60)],
        "gender": ["f", "m", "m"] * 20,
        "age": ["old", "young"] * 30,
        "duration": [1.0, 2.0, 3.0] * 20,
    }
)
IN_WOMEN, IN_OLD = np.array(POOL["gender"][:]) == "f", np.array(POOL["age"][:]) == "old"


def test_the_union_is_the_default():
    sel = hs.select_subgroups(POOL, [WOMEN, OLD])
    assert sel.indices.tolist() == np.flatnonzero(IN_WOMEN | IN_OLD).tolist()
    assert sel.budget == "all"
    assert not sel.warnings
    told = sel.facts["subgroups"]
    assert [(entry["subgroup"], entry["rows"], entry["taken"]) for entry in told] == [
        ("gender = f", 20, 20),
        ("age = old", 30, 30),
    ]
    assert [str(hs.Subgroup.from_dict(entry)) for entry in told] == ["gender = f", "age = old"]


def test_groups_say_who_asked():
    sel = hs.select_subgroups(POOL, [WOMEN, OLD], budget=5)
    expected = [
        tuple(name for name, inside in (("gender = f", w), ("age = old", o)) if inside)
        for w, o in zip(IN_WOMEN, IN_OLD, strict=True)
    ]
    assert sel.groups == expected
    assert sel.excluded == {"in no subgroup": int((~(IN_WOMEN | IN_OLD)).sum())}
    again = hs.select_random(POOL, budget=5, seed=0)
    assert again.groups == [()] * 60


def test_the_worst_first_and_never_twice():
    for budget in (1, 7, 20, 25, 40):
        sel = hs.select_subgroups(POOL, [WOMEN, OLD], budget=budget, seed=3)
        assert len(sel) == len(set(sel.indices.tolist())) == budget
        women = IN_WOMEN[sel.indices].sum()
        assert women == min(budget, 20)
        assert IN_WOMEN[sel.ranked[: min(budget, 20)]].all()
    other = hs.select_subgroups(POOL, [WOMEN, OLD], budget=7, seed=4)
    assert other.indices.tolist() != hs.select_subgroups(POOL, [WOMEN, OLD], budget=7, seed=3).indices.tolist()


def test_proportional_gives_each_its_share():
    two, one = subgroup(-0.2, 20, gender="f"), subgroup(-0.1, 20, gender="m")  # weights 2 to 1
    sel = hs.select_subgroups(POOL, [two, one], budget=30, fill="proportional")
    assert IN_WOMEN[sel.indices].sum() == 20
    sel = hs.select_subgroups(POOL, [two, one], budget=15, fill="proportional")
    assert IN_WOMEN[sel.indices].sum() == 10
    sel = hs.select_subgroups(POOL, [two, one], budget=45, fill="proportional")  # the first is used up
    assert IN_WOMEN[sel.indices].sum() == 20


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_proportional_filling_is_exact_and_at_least_fair(data):
    rows = data.draw(st.integers(1, 80))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    columns = {name: rng.choice(["y", "n"], rows).tolist() for name in "abc"}
    ds = Dataset.from_dict({"id": list(range(rows)), **columns})
    wanted = [subgroup(-float(rng.uniform(0.1, 0.5)), int(rng.integers(5, 50)), **{name: "y"}) for name in "abc"]
    masks = np.array([[v == "y" for v in columns[name]] for name in "abc"])
    union = int(masks.any(axis=0).sum())
    if not union:
        return
    budget = data.draw(st.integers(1, union))
    sel = hs.select_subgroups(ds, wanted, budget=budget, fill="proportional", key="id", seed=1)
    assert len(sel) == budget
    weights = np.array([abs(g.divergence) * g.count for g in wanted])
    taken = masks[:, sel.indices].sum(axis=1)
    fair = np.minimum(masks.sum(axis=1), np.floor(budget * weights / weights.sum()) - 1)
    assert (taken >= fair).all()
    smaller = hs.select_subgroups(ds, wanted, budget=max(1, budget // 2), fill="proportional", key="id", seed=1)
    assert sel.ranked[: len(smaller)].tolist() == smaller.ranked.tolist()


def test_a_budget_in_hours_and_per_group():
    sel = hs.select_subgroups(POOL, [WOMEN], budget="10s")
    assert sel.facts["kept_hours"] * 3600 == pytest.approx(10.0)
    sel = hs.select_subgroups(POOL, [WOMEN, OLD], budget=3, per="age")
    ages = np.array(POOL["age"][:])[sel.indices]
    assert (ages == "old").sum() == (ages == "young").sum() == 3


def test_more_than_there_is_gives_the_union_with_a_warning():
    sel = hs.select_subgroups(POOL, [WOMEN], budget=50)
    assert len(sel) == 20
    assert "asks for 50 rows, and 20 of 60 can be chosen" in sel.warnings[0]


def test_no_row_of_the_pool_is_a_warning():
    nobody = subgroup(-0.5, 9, gender="x")
    sel = hs.select_subgroups(POOL, [nobody])
    assert len(sel) == 0
    assert "No row of the pool belongs" in sel.warnings[0]
    sel = hs.select_subgroups(POOL, [nobody, WOMEN])
    assert "1 of 2 subgroups have no row in the pool: gender = x" in sel.warnings[0]


def test_rows_with_bad_audio_are_never_taken():
    ds = POOL.add_column("audio_status", ["ok", "truncated: 1 of 2 s"] * 30)
    sel = hs.select_subgroups(ds, [WOMEN])
    assert sel.indices.tolist() == [i for i in np.flatnonzero(IN_WOMEN) if i % 2 == 0]


def test_wrong_arguments():
    with pytest.raises(ArgumentError, match="no subgroup to acquire"):
        hs.select_subgroups(POOL, [])
    with pytest.raises(ArgumentError, match="list of Subgroup"):
        hs.select_subgroups(POOL, ["gender = f"])
    with pytest.raises(ArgumentError, match="list of Subgroup"):
        hs.select_subgroups(POOL, WOMEN)
    with pytest.raises(ArgumentError, match="'worst_first' or 'proportional'"):
        hs.select_subgroups(POOL, [WOMEN], fill="best")
    with pytest.raises(ArgumentError, match="divergence and count"):
        hs.select_subgroups(POOL, [hs.Subgroup((Condition("gender", "f"),))], budget=3, fill="proportional")
    with pytest.raises(ColumnError, match=r"The pool: there is no column 'accent'\. Columns there are: id"):
        hs.select_subgroups(POOL, [subgroup(-1, 1, accent="welsh")])


def found() -> tuple[hs.Subgroups, Dataset]:
    rng = np.random.default_rng(0)
    gender, snr = rng.choice(["f", "m"], 400), rng.uniform(0, 30, 400)
    correct = rng.random(400) < 0.9 - 0.5 * ((gender == "f") & (snr < 10))
    ds = Dataset.from_dict({"gender": gender, "snr_db": snr, "correct": correct})
    return hs.find_subgroups(ds, ["gender", "snr_db"], "correct"), ds


def test_better_than_average_is_left_out_and_the_unseen_is_said():
    groups, ds = found()
    assert len(hs.select_subgroups(ds, groups).params["subgroups"]) == len(groups.worst())
    assert "not worse than average" in hs.select_subgroups(ds, groups).warnings[0]
    pool = Dataset.from_dict({"gender": ["f", "diverse"], "snr_db": [1.0, 1.0]})
    sel = hs.select_subgroups(pool, groups.worst(1, redundancy=0.05))
    assert sel.indices.tolist() == [0]
    assert any("'diverse' was not seen" in warning for warning in sel.warnings)


def test_edges_of_the_validation_split_cut_the_pool():
    groups, _ = found()
    worst = groups.worst(1, redundancy=0.05)
    edge = worst[0].conditions[1].high
    pool = Dataset.from_dict({"gender": ["f"] * 4, "snr_db": [edge - 1, edge, edge + 1e-6, 100.0]})
    assert hs.select_subgroups(pool, worst).indices.tolist() == [0, 1]


def test_it_goes_with_the_rest_of_a_selection(tmp_path):
    sel = hs.select_subgroups(POOL, [WOMEN, OLD], budget=10, key="id")
    sel.save(tmp_path / "sel")
    again = hs.Selection.load(tmp_path / "sel")
    assert again == sel
    assert again.groups == sel.groups
    assert sel.apply(POOL.shuffle(seed=1))["id"][:] == [
        i for i in POOL.shuffle(seed=1)["id"] if i in {*sel.apply(POOL)["id"]}
    ]
    whole = hs.select_subgroups(POOL, [WOMEN, OLD], key="id")
    assert whole.take(10).indices.tolist() == sel.indices.tolist()
    marked = sel.mark(POOL)
    assert marked["selection_group"][0] == "gender = f; age = old"


def test_a_million_rows_are_matched_quickly():
    from hf_select.methods.subgroups import _masks

    rng = np.random.default_rng(0)
    names = [f"a{i}" for i in range(8)]
    pool = Dataset.from_dict({name: rng.integers(0, 3, 100_000).astype(str) for name in names})
    wanted = [subgroup(-0.1, 9, **{names[i % 8]: "1", names[(i + 3) % 8]: "2"}) for i in range(20)]
    start = time.perf_counter()
    masks = _masks(pool, wanted)
    assert time.perf_counter() - start < 5  # a loop over rows and subgroups takes longer; the benchmark measures
    assert masks.shape == (20, 100_000)
    assert abs(masks.mean() - 1 / 9) < 0.005
