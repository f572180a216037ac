"""find_subgroups against a count by hand, against every combination enumerated, and against DivExplorer."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from hypothesis import given, settings
from hypothesis import strategies as st

import hf_select as hs
from hf_select.errors import ArgumentError, ColumnError


def by_hand(columns: dict[str, list], values: np.ndarray, min_count: int) -> dict[frozenset, tuple[int, int, float]]:
    """Enumerate every combination: items -> (rows, judged rows, mean)."""
    found = {}
    names = list(columns)
    for size in range(1, len(names) + 1):
        for chosen in itertools.combinations(names, size):
            options = [sorted({v for v in columns[name] if v is not None}) for name in chosen]
            for combination in itertools.product(*options):
                mask = np.ones(len(values), dtype=bool)
                for name, value in zip(chosen, combination, strict=True):
                    mask &= np.array([v == value for v in columns[name]])
                if mask.sum() >= min_count:
                    inside = values[mask]
                    judged = inside[~np.isnan(inside)]
                    mean = judged.mean() if len(judged) else math.nan
                    found[frozenset(zip(chosen, combination, strict=True))] = (int(mask.sum()), len(judged), mean)
    return found


@st.composite
def tables(draw):
    rows = draw(st.integers(4, 40))
    columns = {
        f"a{i}": draw(st.lists(st.sampled_from(["x", "y", "z", None]), min_size=rows, max_size=rows))
        for i in range(draw(st.integers(1, 4)))
    }
    numbers = st.floats(-5, 5, allow_nan=False) | st.just(math.nan)
    outcome = draw(st.sampled_from([st.sampled_from([0.0, 1.0, math.nan]), numbers]))
    values = draw(st.lists(outcome, min_size=rows, max_size=rows))
    return columns, np.array(values), draw(st.integers(1, max(1, rows // 3)))


@settings(max_examples=100, deadline=None)
@given(tables())
def test_every_combination_is_found_and_measured(table):
    columns, values, min_count = table
    found_values = values[~np.isnan(values)]
    if len(set(found_values.tolist())) < 2:
        return
    expected = by_hand(columns, values, min_count)
    known = {name: column for name, column in columns.items() if len({*column} - {None}) > 1}
    expected = {items: row for items, row in expected.items() if {name for name, _ in items} <= known.keys()}
    ds = Dataset.from_dict({**columns, "outcome": [None if math.isnan(v) else v for v in values]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a column none of whose values is frequent
        if not known or not expected:
            with pytest.raises(ArgumentError, match=r"tells rows apart|No subgroup has"):
                hs.find_subgroups(ds, list(columns), "outcome", min_support=min_count)
            return
        groups = hs.find_subgroups(ds, list(columns), "outcome", min_support=min_count)
    assert {frozenset(g.pattern.items()) for g in groups} == expected.keys()
    overall = found_values.mean()
    for g in groups:
        count, judged, mean = expected[frozenset(g.pattern.items())]
        assert (g.count, g.judged) == (count, judged)
        assert g.mean == pytest.approx(mean, abs=1e-12, nan_ok=True)
        assert g.divergence == pytest.approx(mean - overall, abs=1e-12, nan_ok=True)
        assert g.mask(ds).sum() == g.count
    divergence = [g.divergence for g in groups if not math.isnan(g.divergence)]
    assert divergence == sorted(divergence, reverse=groups.direction == "higher")


def divexplorer(columns: dict[str, list], values: np.ndarray, min_support: float, *, numbers: bool):
    explorer = pytest.importorskip("divexplorer")
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({**columns, "outcome": values})
    kind = "quantitative_outcomes" if numbers else "boolean_outcomes"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = explorer.DivergenceExplorer(frame).get_pattern_divergence(
            min_support=min_support, attributes=list(columns), **{kind: ["outcome"]}
        )
    return table[table["itemset"].str.len() > 0]


@pytest.mark.parametrize("seed", range(6))
def test_as_divexplorer_finds(seed):
    rng = np.random.default_rng(seed)
    rows, numbers = int(rng.integers(300, 1500)), seed % 2 == 1
    columns = {f"a{i}": rng.choice([*"uvwxyz"][: rng.integers(2, 6)], rows).tolist() for i in range(6)}
    bad = np.array(columns["a0"]) == "u"
    if numbers:
        values = rng.gamma(1 + bad, 0.3)
    else:
        values = (rng.random(rows) < 0.9 - 0.4 * bad).astype(float)
        values[rng.random(rows) < 0.1] = np.nan
    theirs = divexplorer(columns, values, 0.02, numbers=numbers)
    ds = Dataset.from_dict({**columns, "outcome": [None if math.isnan(v) else v for v in values]})
    groups = hs.find_subgroups(ds, list(columns), "outcome", min_support=0.02)
    ours = {frozenset(f"{k}={v}" for k, v in g.pattern.items()): g for g in groups}
    assert ours.keys() == {*theirs["itemset"]}
    for row in theirs.itertuples():
        group = ours[row.itemset]
        assert group.count == row.support_count
        assert group.divergence == pytest.approx(row.outcome_div, abs=1e-9)
        assert group.t == pytest.approx(row.outcome_t, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_contributions_as_divexplorer_has_them(seed):
    rng = np.random.default_rng(seed)
    columns = {f"a{i}": rng.choice(["u", "v", "w"], 600).tolist() for i in range(4)}
    values = (rng.random(600) < 0.5 + 0.3 * (np.array(columns["a1"]) == "v")).astype(float)
    theirs = divexplorer(columns, values, 0.02, numbers=False)
    from divexplorer.shapley_value import compute_shapley_value, global_itemset_divergence

    scores: dict[int, dict] = {0: {frozenset(): 0.0}}
    for row in theirs.itertuples():
        scores.setdefault(len(row.itemset), {})[row.itemset] = row.outcome_div
    ds = Dataset.from_dict({**columns, "outcome": values})
    groups = hs.find_subgroups(ds, list(columns), "outcome", min_support=0.02)
    for group in groups[:: len(groups) // 20]:
        items = frozenset(f"{k}={v}" for k, v in group.pattern.items())
        expected = {next(iter(k)).replace("=", " = "): v for k, v in compute_shapley_value(items, scores).items()}
        found = groups.contributions(group)
        assert found == pytest.approx(expected, abs=1e-12)
        assert sum(found.values()) == pytest.approx(group.divergence, abs=1e-12)
    sizes = dict.fromkeys(columns, 3)
    everywhere = groups.global_contributions()
    assert len(everywhere) == 12
    for name, value in everywhere.items():
        item = frozenset({name.replace(" = ", "=")})
        assert value == pytest.approx(global_itemset_divergence(item, scores, list(columns), sizes), abs=1e-12)


# -- outcomes


def classified(rows: int = 400, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, rows)
    predicted = np.where(rng.random(rows) < 0.8, label, rng.integers(0, 3, rows))
    names = ClassLabel(names=["go", "no", "yes"])
    features = Features({"label": names, "predicted": names, "room": Value("string"), "who": Value("string")})
    room, who = rng.choice(["hall", "car"], rows), rng.integers(0, 20, rows).astype(str)
    return Dataset.from_dict({"label": label, "predicted": predicted, "room": room, "who": who}, features=features)


@pytest.mark.parametrize("rate", ["accuracy", "false_positive_rate", "false_negative_rate", "macro_f1"])
def test_rates_are_those_of_scikit_learn(rate):
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

    ds = classified()
    positive = "yes" if "positive" in rate or "negative" in rate else None
    groups = hs.find_subgroups(ds, "room", rate, predicted="predicted", label="label", positive=positive)
    assert groups.direction == ("higher" if positive else "lower")

    def expected(rows):
        truth, answer = np.array(rows["label"][:]), np.array(rows["predicted"][:])
        if rate == "accuracy":
            return accuracy_score(truth, answer)
        if rate == "macro_f1":
            return f1_score(truth, answer, average="macro")
        (tn, fp), (fn, tp) = confusion_matrix(truth == 2, answer == 2)
        return fp / (fp + tn) if rate == "false_positive_rate" else fn / (fn + tp)

    assert groups.overall == pytest.approx(expected(ds), abs=1e-12)
    assert {g.pattern["room"] for g in groups} == {"hall", "car"}
    for group in groups:
        assert group.mean == pytest.approx(expected(group.apply(ds)), abs=1e-12)
        assert group.divergence == pytest.approx(group.mean - groups.overall, abs=1e-12)
        assert group.low <= group.mean <= group.high
        assert 0 < group.p <= 1


def test_macro_f1_tells_a_bad_room_and_no_other():
    ds = classified(2000, seed=1)
    room, predicted = np.array(ds["room"][:]), np.array(ds["predicted"][:])
    worse = np.where((room == "car") & (np.random.default_rng(2).random(len(ds)) < 0.4), 0, predicted)
    ds = ds.remove_columns("predicted").add_column("predicted", worse).cast_column("predicted", ds.features["label"])
    for speaker in (None, "who"):
        groups = hs.find_subgroups(ds, "room", "macro_f1", predicted="predicted", label="label", speaker=speaker)
        assert groups[0].pattern == {"room": "car"}
        assert groups[0].q < 0.001
    same = hs.find_subgroups(classified(2000, seed=3), "room", "macro_f1", predicted="predicted", label="label")
    assert same[0].q > 0.05


def test_rows_without_an_outcome_count_for_the_support_only():
    ds = Dataset.from_dict({"g": ["a"] * 6 + ["b"] * 6, "ok": [1, 0, None, None, None, None] + [1, 1, 1, 0, 1, None]})
    groups = hs.find_subgroups(ds, "g", "ok")
    a = next(g for g in groups if g.pattern == {"g": "a"})
    assert (a.count, a.judged, a.mean, a.support) == (6, 2, 0.5, 0.5)
    assert groups.overall == pytest.approx(5 / 7)


def test_direction_of_numbers_and_its_note():
    ds = Dataset.from_dict({"g": ["a", "b"] * 10, "wer": [0.1, 0.5] * 10})
    assert hs.find_subgroups(ds, "g", "wer")[0].pattern == {"g": "b"}
    assert "taken as worse" in " ".join(hs.find_subgroups(ds, "g", "wer").notes)
    confidence = hs.find_subgroups(ds, "g", "wer", direction="lower")
    assert confidence[0].pattern == {"g": "a"}
    assert not confidence.notes


# -- speakers


def test_speakers_are_counted_and_the_worst_is_named():
    speakers = ["ann"] * 10 + ["bob"] * 10 + ["cy"] * 10
    loud = [True, False] * 15
    right = [0] * 6 + [1] * 4 + [1] * 9 + [0] + [1] * 10
    ds = Dataset.from_dict({"loud": loud, "who": speakers, "correct": right})
    groups = hs.find_subgroups(ds, "loud", "correct", speaker="who")
    mask = np.array(loud)
    for group in groups:
        inside = mask == (group.pattern["loud"] == "True")
        errors = {
            who: sum(1 for w, r, i in zip(speakers, right, inside, strict=True) if w == who and i and not r)
            for who in speakers
        }
        assert group.speakers == 3
        assert group.worst_speaker == max(errors, key=errors.get)
        assert group.worst_speaker_share == max(errors.values()) / sum(errors.values())
    assert "one speaker makes most of the errors (75.0% in 1)" in groups.warnings[0]
    assert set(groups.to_pandas()["worst_speaker"]) <= {"ann", "bob"}


def test_a_missing_speaker_is_one_speaker():
    ds = Dataset.from_dict({"g": ["a", "b"] * 6, "who": ["x", "y", None, None] * 3, "ok": [1, 0, 1, 1] * 3})
    assert hs.find_subgroups(ds, "g", "ok", speaker="who").speaker_names == ("x", "y", "(none)")


# -- bad input: what is wrong, what was seen, what to do


def rows(**more) -> Dataset:
    columns = {"g": ["a", "b"] * 20, "age": list(range(40)), "correct": [1, 0, 1, 1] * 10}
    return Dataset.from_dict({**columns, **more})


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"by": []}, ArgumentError, "at least one"),
        ({"by": ["g", "g"]}, ArgumentError, "twice"),
        ({"by": "sex"}, ColumnError, "no column 'sex'. Columns there are: g, age, correct"),
        ({"outcome": "right"}, ColumnError, "no column 'right'"),
        ({"outcome": "g", "by": "age"}, ColumnError, "0/1"),
        ({"outcome": "accuracy"}, ColumnError, "predicted="),
        ({"outcome": "correct", "by": ["g", "correct"]}, ArgumentError, "which is the outcome"),
        ({"outcome": "age", "by": "g", "kind": "zero_one"}, ColumnError, "must hold 0, 1 or nothing, and holds 2"),
        ({"min_support": 0}, ArgumentError, "min_support"),
        ({"min_support": 1.5}, ArgumentError, "share of the rows"),
        ({"min_support": True}, ArgumentError, "min_support"),
        ({"min_support": 30}, ArgumentError, "No subgroup has 30 of 40 rows.*The largest, g = a, has 20"),
        ({"bins": 1}, ArgumentError, "at least 2"),
        ({"bins": {"age": [5, 3]}, "by": "age"}, ArgumentError, "ascending"),
        ({"bins": {"agee": 3}}, ArgumentError, "'agee'"),
        ({"bins": "three"}, ArgumentError, "bins="),
        ({"direction": "down"}, ArgumentError, "'lower' or 'higher'"),
        ({"max_length": 0}, ArgumentError, "max_length"),
        ({"kind": "boolean"}, ArgumentError, "zero_one"),
        ({"speaker": "who"}, ColumnError, "no column 'who'"),
        ({"label": "g"}, ArgumentError, "predicted="),
        ({"predicted": "g", "by": "age"}, ArgumentError, "label="),
    ],
    ids=str,
)
def test_wrong_arguments(arguments, error, words):
    with pytest.raises(error, match=words):
        hs.find_subgroups(rows(), **{"by": ["g", "age"], "outcome": "correct", **arguments})


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ([1] * 40, "is 1 in all 40 rows"),
        ([None] * 40, "no value in any of 40 rows"),
        ([1.0, math.inf] * 20, "row 1 is infinite"),
        ([[1]] * 40, "0/1"),
    ],
    ids=["constant", "missing", "infinite", "lists"],
)
def test_wrong_outcomes(outcome, words):
    with pytest.raises(ColumnError, match=words):
        hs.find_subgroups(rows(correct2=outcome), "g", "correct2")


def test_wrong_columns():
    with pytest.raises(ColumnError, match="one value per row"):
        hs.find_subgroups(rows(vector=[[1.0]] * 40), "vector", "correct")
    with pytest.raises(ArgumentError, match="row 0 is infinite"):
        hs.find_subgroups(rows(snr=[math.inf, *range(39)]), "snr", "correct")
    with pytest.raises(ArgumentError, match="tells rows apart"):
        hs.find_subgroups(rows(one=["x"] * 40), "one", "correct")
    with pytest.raises(ColumnError, match="at least 2"):
        hs.find_subgroups(rows(who=["x"] * 40), "g", "correct", speaker="who")
    with pytest.raises(ArgumentError, match="positive="):
        hs.find_subgroups(
            rows(p=["a", "b"] * 20, l=["a"] * 40), "g", "false_positive_rate", predicted="p", label="l", positive="c"
        )


def test_an_id_is_warned_about_and_a_constant_is_noted():
    ds = rows(path=[f"{i}.wav" for i in range(40)], lang=["en"] * 40, empty=[None] * 40)
    with pytest.warns(UserWarning, match="path has a value of its own in"):
        groups = hs.find_subgroups(ds, ["g", "path", "lang", "empty"], "correct")
    assert {a for g in groups for a in g.pattern} == {"g"}
    assert any("lang is the same in all rows (en)" in note for note in groups.notes)
    assert any("empty has no value in any row" in note for note in groups.notes)
    kept = hs.find_subgroups(ds, ["g", "lang"], "correct", keep_constant=True)
    assert {frozenset(g.pattern) for g in kept} == {frozenset({"g"}), frozenset({"lang"}), frozenset({"g", "lang"})}


def test_numbers_without_a_value_match_no_bin():
    ds = rows(snr=[None, math.nan, *range(38)])
    groups = hs.find_subgroups(ds, "snr", "correct", bins=2)
    assert sum(g.count for g in groups) == 38
    assert "snr has no value in 2 of 40 rows" in groups.notes[0]


def test_names_and_values_with_everything_in_them():
    ugly = ["a = b", "x, y; z", 'say "hi"', "über and außer"]
    ds = Dataset.from_dict({"the name=of it": ugly * 10, "correct": [0, 1, 1, 1] * 10})
    groups = hs.find_subgroups(ds, "the name=of it", "correct")
    assert {g.pattern["the name=of it"] for g in groups} == {*ugly}
    assert len({str(g) for g in groups}) == 4
    assert all(";" not in str(g) for g in groups)
    for group in groups:
        assert len(group.apply(ds)) == 10
        assert len(ds.filter(group, batched=True)) == 10


def test_length_can_be_limited():
    ds = rows(h=["x", "x", "y", "y"] * 10)
    assert max(len(g.conditions) for g in hs.find_subgroups(ds, ["g", "age", "h"], "correct")) == 3
    assert {len(g.conditions) for g in hs.find_subgroups(ds, ["g", "age", "h"], "correct", max_length=2)} == {1, 2}


def test_threads_and_order_of_rows_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    columns = {f"a{i}": rng.choice(["u", "v", "w"], 900).tolist() for i in range(5)}
    ds = Dataset.from_dict({**columns, "wer": rng.gamma(1, 0.2, 900), "who": rng.integers(0, 9, 900)})
    tables = []
    for threads in ("1", "2"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        tables.append(hs.find_subgroups(ds, list(columns), "wer", speaker="who").to_pandas())
    assert tables[0].equals(tables[1])
    shuffled = hs.find_subgroups(ds.shuffle(seed=1), list(columns), "wer", speaker="who").to_pandas()
    shuffled = shuffled.set_index("subgroup").loc[tables[0]["subgroup"]]
    for name in ("count", "mean", "q", "low", "speakers", "worst_speaker_share"):
        assert np.allclose(tables[0][name], shuffled[name], rtol=1e-9, atol=1e-12, equal_nan=True)


def table_or_refusal(call):
    """Return a table, or None where it is refused for what is in the columns: an outcome or speaker that does not vary, ..."""
    try:
        return call()
    except (ArgumentError, ColumnError) as error:
        assert any(
            w in str(error) for w in ("no value in any", "in all", "No subgroup has", "tells rows apart", "at least 2")
        )
        return None


@settings(max_examples=80, deadline=None)
@given(tables(), st.integers(0, 2**32))
def test_no_table_however_small_breaks_anything(table, seed):
    """Whatever comes in, there is a table or an error of ours; never a warning from the depths, nor a number out of range."""
    columns, values, min_count = table
    rng = np.random.default_rng(seed)
    rows = len(values)
    columns = {**columns, "n": rng.choice([0.5, 1, 2, 3, 4, 5, 6, math.nan], rows).tolist()}
    more = {
        "outcome": [None if math.isnan(v) else v for v in values],
        "who": rng.choice(["a", "b", "c", None], rows).tolist(),
        "label": rng.choice(["u", "v", None], rows).tolist(),
        "predicted": rng.choice(["u", "v", "w"], rows).tolist(),
    }
    ds = Dataset.from_dict({**columns, **more})
    asked = {"outcome": "outcome"}
    if rng.random() < 0.5:
        asked = {"outcome": str(rng.choice(["accuracy", "macro_f1"])), "predicted": "predicted", "label": "label"}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* it is in no subgroup|worst", category=UserWarning)
        groups = table_or_refusal(
            lambda: hs.find_subgroups(ds, [*columns], min_support=min_count, speaker="who", **asked)
        )
        if groups is None:
            return
        half = table_or_refusal(lambda: groups.measure(ds.select(range(rows // 2 + 1))))
        for found in (groups, half or groups):
            frame = found.to_pandas()
            for name in ("p", "q"):
                known = frame[name].dropna()
                assert ((known >= 0) & (known <= 1)).all()
            assert (frame["q"].isna() | (frame["q"] >= frame["p"] - 1e-12)).all()
            assert (frame["low"].isna() | (frame["low"] <= frame["mean"] + 1e-9)).all()
            assert (frame["high"].isna() | (frame["high"] >= frame["mean"] - 1e-9)).all()
            assert str(found)
        worst = groups.worst(3, redundancy=0.01)
        if len(worst):  # from here on nothing may be refused
            assert len(hs.select_subgroups(ds, worst, budget=1, fill="proportional")) == 1
            assert str(hs.shopping_list(worst, budget=7))


def test_an_attribute_of_many_values_takes_no_room_for_the_rare_ones():
    """40,000 words, one of them frequent and the last by name: a set of rows is kept for it alone."""
    rows = 60_000
    words = [f"w{i:05d}" for i in range(40_000)] + ["zebra"] * 20_000
    ds = Dataset.from_dict({"word": words, "g": ["a", "b"] * 30_000, "ok": [1] * 45_000 + [0, 1, 0] * 5_000})
    groups = hs.find_subgroups(ds, ["word", "g"], "ok")
    assert len(groups._sets.words) == 3
    zebra = next(g for g in groups if g.pattern == {"word": "zebra"})
    assert (zebra.count, zebra.mean) == (20_000, pytest.approx(1 - 10_000 / 20_000))
    assert zebra.mask(ds).sum() == 20_000
    assert groups.measure(ds).to_pandas().equals(groups.to_pandas())
    assert len(groups.rare) == 0 and rows == len(ds)
    with pytest.warns(UserWarning, match="id has a value of its own"):
        hs.find_subgroups(ds.add_column("id", [f"{i}.wav" for i in range(rows)]), ["id", "g"], "ok")
