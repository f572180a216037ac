"""Subgroups as a table: choosing the worst, other splits, phrases, disk; and Subgroup as a row filter."""

from __future__ import annotations

import json
import math
import warnings

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value

import hf_select as hs
from hf_select.errors import ArgumentError, ColumnError, OutputError, SelectionError
from hf_select.subgroups.attributes import quantile_edges
from hf_select.subgroups.conditions import Condition, phrase


def weak(rows: int = 1200, seed: int = 0) -> Dataset:
    """Make rows whose outcome is bad for old women, and a little worse in noise."""
    rng = np.random.default_rng(seed)
    gender = rng.choice(["female", "male"], rows)
    age = rng.integers(18, 90, rows)
    noise = rng.choice(["none", "babble"], rows)
    bad = (gender == "female") & (age > 62)
    correct = rng.random(rows) < 0.95 - 0.5 * bad - 0.05 * (noise == "babble")
    return Dataset.from_dict(
        {
            "gender": gender,
            "age": age,
            "noise": noise,
            "correct": correct,
            "who": (age * 7 + 3 * (gender == "male") + rng.integers(0, 2, rows)).astype(str),
        }
    )


@pytest.fixture(scope="module")
def groups() -> hs.Subgroups:
    bins = {"age": [30, 62]}
    return hs.find_subgroups(weak(), ["gender", "age", "noise"], "correct", bins=bins, speaker="who")


def assert_same(one: hs.Subgroups, other: hs.Subgroups) -> None:
    pd = pytest.importorskip("pandas")
    pd.testing.assert_frame_equal(one.to_pandas(), other.to_pandas(), rtol=1e-12)  # sums of another order


def test_the_planted_subgroup_is_found_and_reads_well(groups):
    worst = groups.worst(1, redundancy=0.1)
    assert str(worst[0]) == "gender = female and age > 62"
    assert worst[0].q < 0.001
    assert worst[0].low <= worst[0].mean <= worst[0].high < groups.overall


def test_it_is_a_sequence_worst_first(groups):
    divergence = [g.divergence for g in groups]
    assert divergence == sorted(divergence)
    assert len(groups) == len(divergence) == len(groups.to_pandas())
    assert groups[-1].divergence == max(divergence)
    assert [str(g) for g in groups[2:4]] == [str(groups[2]), str(groups[3])]
    assert isinstance(groups[:2], hs.Subgroups)
    with pytest.raises(IndexError):
        groups[len(groups)]


def test_the_whole_is_never_one_of_them_and_only_bad_ones_are(groups):
    everything = groups.worst()
    assert all(g.divergence < 0 and g.conditions for g in everything)
    assert 0 < len(everything) < len(groups)
    higher = hs.find_subgroups(weak(), ["gender", "age"], "correct", direction="higher")
    assert all(g.divergence > 0 for g in higher.worst())


def test_redundancy_by_hand(groups):
    divergence = {frozenset(g.pattern.items()): round(g.divergence, 5) for g in groups}
    divergence[frozenset()] = 0.0
    for threshold in (0.0, 0.02, 0.1):
        kept = {frozenset(g.pattern.items()) for g in groups.worst(redundancy=threshold)}
        expected = {
            items
            for items, value in divergence.items()
            if value < 0 and all(abs(value - divergence[items - {item}]) > threshold for item in items)
        }
        assert kept == expected


def test_redundancy_after_a_first_choice_is_that_of_the_whole_table(groups):
    assert [str(g) for g in groups.worst(8).worst(redundancy=0.02)] == [
        str(g) for g in groups.worst(redundancy=0.02) if str(g) in {str(w) for w in groups.worst(8)}
    ]


def test_fewer_than_asked_is_a_warning(groups):
    with pytest.warns(
        UserWarning, match=r"worst\(50\): \d+ of \d+ subgroups are worse than all rows and meet redundancy=0.05"
    ):
        assert 0 < len(groups.worst(50, redundancy=0.05)) < 50
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(groups.worst(2)) == 2


def test_limits_of_worst(groups):
    assert all(g.q <= 0.01 for g in groups.worst(max_q=0.01))
    assert len(groups.worst(max_q=0.01)) < len(groups.worst())
    most = max(g.speakers for g in groups)
    assert {g.speakers for g in groups.worst(min_speakers=most - 5)} <= {*range(most - 5, most + 1)}
    for wrong in ({"k": 0}, {"k": True}, {"k": 2.0}, {"redundancy": -1}, {"redundancy": math.nan}, {"max_q": 2}):
        with pytest.raises(ArgumentError):
            groups.worst(**wrong)
    plain = hs.find_subgroups(weak(), "gender", "correct")
    with pytest.raises(ArgumentError, match="speaker="):
        plain.worst(1, min_speakers=2)


def test_another_split_is_measured_with_the_same_edges(groups):
    other = weak(500, seed=9)
    again = groups.measure(other)
    assert len(again) == len(groups)
    assert again.attributes == groups.attributes
    assert again.overall == pytest.approx(np.mean(other["correct"][:]))
    for g in again:
        inside = g.apply(other)
        assert g.count == len(inside)
        if g.count:
            assert g.mean == pytest.approx(np.mean(inside["correct"][:]))
    same = groups.measure(weak())
    assert_same(same, groups)


def test_values_unseen_before_match_nothing_and_are_named(groups):
    ds = Dataset.from_dict({**weak(100).to_dict(), "noise": ["street"] * 50 + ["none"] * 50})
    assert groups.unseen(ds) == {"noise": ["street"]}
    again = groups.measure(ds)
    assert any("'street' was not seen" in note for note in again.notes)
    assert sum(g.count for g in again if set(g.pattern) == {"noise"}) == 50


def test_contributions_name_what_makes_it_bad(groups):
    found = groups.contributions(groups.worst(1, redundancy=0.1)[0])
    assert list(found) == ["age > 62", "gender = female"] or list(found) == ["gender = female", "age > 62"]
    assert all(value < -0.1 for value in found.values())
    assert next(iter(groups.global_contributions())) in ("age > 62", "gender = female")
    stranger = hs.Subgroup((Condition("accent", "welsh"),))
    with pytest.raises(ArgumentError, match="no attribute 'accent'"):
        groups.contributions(stranger)
    with pytest.raises(ArgumentError, match="no value 'other'"):
        groups.contributions(hs.Subgroup((Condition("gender", "other"),)))


def test_contributions_of_a_part_read_from_disk_say_what_is_missing(groups, tmp_path):
    groups.worst(1, redundancy=0.1).save(tmp_path / "worst.json")
    with pytest.raises(ArgumentError, match="whole table"):
        hs.Subgroups.load(tmp_path / "worst.json").contributions(0)


# -- a subgroup is a row filter


def test_filter_apply_and_mask_agree(groups):
    ds = weak(300, seed=4).shuffle(seed=2).select(range(200))
    for g in groups.worst(5):
        kept = g.apply(ds)
        assert kept.to_dict() == ds.filter(g, batched=True).to_dict()
        assert g.mask(ds).sum() == len(kept)
        stream = ds.to_iterable_dataset().filter(g, batched=True)
        assert [row["age"] for row in stream] == kept["age"][:]


def test_filtering_decodes_nothing():
    from hf_select.testing import make_rows

    ds = make_rows(30)  # whose audio raises when it is decoded
    group = hs.Subgroup((Condition("label", "no"), Condition("duration", "low", high=1.0)))
    assert len(ds.filter(group, batched=True)) == len(group.apply(ds)) == group.mask(ds).sum() > 0


def test_class_labels_are_read_by_name_wherever_they_come_from():
    features = Features({"label": ClassLabel(names=["no", "yes"]), "ok": Value("bool")})
    ds = Dataset.from_dict({"label": [0, 1, None, 1] * 5, "ok": [True, False, True, True] * 5}, features=features)
    yes = next(g for g in hs.find_subgroups(ds, "label", "ok") if g.pattern == {"label": "yes"})
    assert yes.mask(ds).tolist() == [False, True, False, True] * 5
    assert yes({"label": [1, 0, None]}) == [True, False, False]  # a batch of a stream: numbers without names
    turned = Features({"label": ClassLabel(names=["yes", "no"]), "ok": Value("bool")})
    other = Dataset.from_dict({"label": [0, 1], "ok": [True, True]}, features=turned)
    assert yes.mask(other).tolist() == [True, False]
    assert len(other.filter(yes, batched=True)) == 1
    as_text = Dataset.from_dict({"label": ["no", "yes"]})
    assert yes.mask(as_text).tolist() == [False, True]


def test_a_missing_column_is_named(groups):
    with pytest.raises(ColumnError, match=r"no column 'gender'\. Columns there are: age"):
        groups[0].mask(Dataset.from_dict({"age": [1]}))
    with pytest.raises(ColumnError, match="in this batch"):
        groups[0]({"age": [1]})
    with pytest.raises(ColumnError, match="numbers are needed"):
        hs.Subgroup((Condition("age", "high", low=60.0),)).mask(Dataset.from_dict({"age": ["old"]}))


def test_edges_belong_below():
    ds = Dataset.from_dict({"age": [1, 2, 3, 4, None]})
    parts = [("low", None, 2.0), ("medium", 2.0, 3.0), ("high", 3.0, None)]
    masks = [hs.Subgroup((Condition("age", n, low=a, high=b),)).mask(ds).tolist() for n, a, b in parts]
    assert masks == [
        [True, True, False, False, False],
        [False, False, True, False, False],
        [False, False, False, True, False],
    ]


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (Condition("gender", "female"), "gender = female"),
        (Condition("snr", "low", high=5.0), "snr <= 5"),
        (Condition("snr", "medium", low=5.0, high=20.5), "5 < snr <= 20.5"),
        (Condition("a b ", "x"), '"a b " = x'),
        (Condition("x", "a and b"), 'x = "a and b"'),
        (Condition("x", "1; 2"), 'x = "1\\u003b 2"'),
        (Condition("x", ""), 'x = ""'),
        (Condition("x", "two\nlines"), 'x = "two\\nlines"'),
        (Condition("x", "Zürich, 8001"), "x = Zürich, 8001"),
    ],
)
def test_phrases(condition, text):
    assert str(condition) == text
    assert Condition.from_dict(json.loads(json.dumps(condition.to_dict()))) == condition


def test_a_phrase_of_none_is_all_rows():
    assert phrase(()) == "all rows"


def test_a_subgroup_survives_json(groups):
    for g in groups[:3]:
        assert hs.Subgroup.from_dict(json.loads(json.dumps(g.to_dict()))) == g


# -- bins


def test_quantile_bins_are_even_where_values_are():
    numbers = np.random.default_rng(0).normal(size=9000)
    edges = quantile_edges(numbers, 3)
    shares = np.bincount(np.searchsorted(edges, numbers), minlength=3) / 9000
    assert np.abs(shares - 1 / 3).max() < 0.01
    assert len(quantile_edges(numbers, 5)) == 4


def test_merged_quantiles_are_tried_finer():
    numbers = np.array([0.0] * 60 + list(range(1, 41)), dtype=float)  # both thirds of it are 0
    edges = quantile_edges(numbers, 3)
    assert len(edges) == 2
    assert edges[0] == 0.0


def test_small_numbers_are_not_rounded_away():
    numbers = np.linspace(0, 0.0005, 100)
    assert len(quantile_edges(numbers, 3)) == 2


def test_five_values_are_values_and_six_are_bins():
    ds = Dataset.from_dict({"n": list(range(5)) * 12, "m": list(range(6)) * 10, "ok": [1, 0, 1] * 20})
    groups = hs.find_subgroups(ds, ["n", "m"], "ok")
    n, m = groups.attributes
    assert (n.values, n.edges) == (("0", "1", "2", "3", "4"), None)
    assert m.values == ("low", "medium", "high")
    whole = hs.find_subgroups(ds, ["m"], "ok", bins=None).attributes[0]
    assert whole.values == ("0", "1", "2", "3", "4", "5")
    given = hs.find_subgroups(ds, ["n", "m"], "ok", bins={"n": [2], "m": 2}).attributes
    assert [a.values for a in given] == [("low", "high"), ("low", "high")]
    assert given[0].edges == (2.0,)


# -- on disk, as text


def test_a_table_comes_back_from_disk(groups, tmp_path):
    groups.save(tmp_path / "g.json")
    again = hs.Subgroups.load(tmp_path / "g.json")
    assert again.to_pandas().equals(groups.to_pandas())
    assert again.attributes == groups.attributes
    assert str(again) == str(groups)
    assert [str(g) for g in again.worst(redundancy=0.02)] == [str(g) for g in groups.worst(redundancy=0.02)]
    assert_same(again.measure(weak()), groups)
    with pytest.raises(OutputError, match="exists already"):
        groups.save(tmp_path / "g.json")
    groups.save(tmp_path / "g.json", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["g.json"]


def test_damage_on_disk_is_noticed(groups, tmp_path):
    path = tmp_path / "g.json"
    groups[:5].save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 100):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(0, 7))
        path.write_bytes(bytes(damaged))
        try:
            again = hs.Subgroups.load(path)
        except SelectionError:
            continue
        assert again.to_pandas().equals(groups[:5].to_pandas())  # white space, or an escape written otherwise
    path.write_bytes(whole[:-100])
    with pytest.raises(SelectionError, match="no table of subgroups"):
        hs.Subgroups.load(path)
    with pytest.raises(SelectionError, match=r"nowhere\.json"):
        hs.Subgroups.load(tmp_path / "nowhere.json")
    with pytest.raises(OutputError, match="can't be written"):
        groups.save(tmp_path / "no" / "folder.json")


def test_text_says_what_it_is_about(groups):
    text = str(groups)
    assert text.startswith(f"{len(groups)} subgroups of at least 36 of 1,200 rows; correct of all rows: 0.84")
    assert "gender = female" in text
    assert f"and {len(groups) - 10} more" in text


def test_what_is_too_rare_is_remembered():
    ds = Dataset.from_dict(
        {"a": ["x"] * 30 + ["y"] * 28 + ["z"] * 2, "b": ["p"] * 29 + ["q"] * 31, "ok": [1, 0, 1] * 20}
    )
    groups = hs.find_subgroups(ds, ["a", "b"], "ok", min_support=5)
    assert {(str(r), r.count) for r in groups.rare} == {("a = z", 2), ("a = x and b = q", 1), ("a = y and b = p", 0)}


def test_the_same_rows_under_another_name_can_be_left_out(tmp_path):
    """All men are old and all old are men: a subgroup of one is a subgroup of the other."""
    gender, noisy = ["m", "f"] * 30, [True, True, False] * 20
    columns = {"gender": gender, "age": ["old" if g == "m" else "young" for g in gender], "noisy": noisy}
    wrong = [g == "m" and n for g, n in zip(gender, noisy, strict=True)]
    ds = Dataset.from_dict({**columns, "correct": [not w for w in wrong]})
    groups = hs.find_subgroups(ds, list(columns), "correct")
    names = [str(g) for g in groups.worst(redundancy=0.0)]
    assert names == [
        "gender = m and noisy = True",
        "age = old and noisy = True",
        "gender = m",
        "age = old",
        "noisy = True",
    ]
    once = groups.worst(redundancy=0.0, distinct=True)
    assert [str(g) for g in once] == ["gender = m and noisy = True", "gender = m", "noisy = True"]
    assert [str(g) for g in groups.worst(2, distinct=True)] == ["gender = m and noisy = True", "gender = m"]
    with pytest.warns(UserWarning, match=r"worst\(4\): 3 of .* meet redundancy=0\.0, distinct=True"):
        groups.worst(4, redundancy=0.0, distinct=True)
    assert len(groups.measure(ds.select(range(30))).worst(redundancy=0.0, distinct=True)) == 3
    groups.save(tmp_path / "g.json")
    with pytest.raises(ArgumentError, match="read from disk"):
        hs.Subgroups.load(tmp_path / "g.json").worst(1, distinct=True)
