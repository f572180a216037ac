"""select_weak_clusters against scikit-learn and plain loops, against values worked out by hand, and its errors."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, concatenate_datasets
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler

import hf_select as hs
from hf_select.errors import ArgumentError, ColumnError, ConstantOutcomeError, DatasetError


def dataset(x, **columns):
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.asarray(x, np.float32).reshape(-1)), len(x[0]))
    return Dataset(pa.table({"embedding": vectors, **columns}))


def blobs(rows, dimensions=8, centres=6, seed=0):
    middle = np.random.default_rng(0).normal(scale=4, size=(centres, dimensions))
    rng = np.random.default_rng(seed)
    place = rng.integers(0, centres, rows)
    return (middle[place] + rng.normal(size=(rows, dimensions))).astype(np.float32), place


def by_hand(x, outcome, pool, n_clusters, k, sign=-1, seed=0):
    """Return (rows in order of choice, (cluster, rows, judged, mean) of the weak clusters), row by row; sign -1: lower is worse."""
    fitted = KMeans(n_clusters, n_init=1, max_iter=100, tol=0, random_state=seed).fit(x)
    members = {c: [i for i in range(len(x)) if fitted.labels_[i] == c] for c in range(n_clusters)}
    judged = {c: [outcome[i] for i in rows if outcome[i] is not None] for c, rows in members.items()}
    average = np.mean([value for values in judged.values() for value in values])
    bad = [(sign * (np.mean(v) - average), len(members[c]), -c) for c, v in judged.items() if v]
    weak = [-c for badness, _, c in sorted(bad, reverse=True) if badness > 1e-9][:k]
    chosen = []
    for row, vector in enumerate(pool.astype(np.float64)):
        apart = [np.sqrt(((vector - x[members[c]].astype(np.float64).mean(axis=0)) ** 2).sum()) for c in members]
        if int(np.argmin(apart)) in weak:
            chosen.append((min(apart), row))
    return [row for _, row in sorted(chosen)], [(c, len(members[c]), len(judged[c]), np.mean(judged[c])) for c in weak]


LINE = {"embedding": [[0.0], [2.0], [10.0], [12.0], [20.0], [22.0], [30.0], [32.0]]}
# clusters around 1, 11, 21 and 31 with means 1, 0.5, 0 and none; 3 of 6 judged rows are right
VALIDATION = Dataset.from_dict({**LINE, "correct": [1, 1, 1, 0, 0, 0, None, None]})
POOL = Dataset.from_dict({"embedding": [[31.0], [21.5], [1.0], [11.0], [24.0], [20.0], [-5.0], [15.0]]})


def test_four_clusters_by_hand():
    sel = hs.select_weak_clusters(POOL, VALIDATION, n_clusters=4, k=2, n_init=10)
    assert sel.ranked.tolist() == [1, 5, 4] and sel.indices.tolist() == [1, 4, 5]
    assert sel.score.tolist() == [0.0, -0.5, 0.0, 0.0, -3.0, -1.0, -6.0, -4.0]
    assert sel.budget == "all" and sel.excluded == {"in no weak cluster": 5}
    [weak] = sel.facts["weak_clusters"]
    number = weak.pop("cluster")
    assert weak == {"count": 2, "judged": 2, "mean": 0.0, "divergence": -0.5, "rows": 3, "taken": 3}
    assert set(sel.group[sel.indices]) == {str(number)}
    assert sel.groups[0] == () and sel.groups[1] == (str(number),)
    assert sel.facts["overall"] == 0.5 and sel.facts["inertia"] == 8.0 and sel.facts["n_clusters"] == 4
    assert sel.facts["validation_rows"] == 8 and sel.facts["validation_judged"] == 6
    # the mean of the cluster around 11 is the average, and that is not worse; nor is a cluster that nobody judged
    assert sel.warnings == ("1 clusters are worse than average, and k=2 were asked for: no others are taken.",)


@pytest.mark.parametrize("share", [None, 0.1, 0.4])
@pytest.mark.parametrize("k", [1, 4])
def test_as_scikit_learn_and_plain_loops(k, share):
    x, place = blobs(700)
    rng = np.random.default_rng(1)
    correct = [None if rng.random() < 0.1 else int(rng.random() < 0.95 - 0.12 * p) for p in place]
    pool, _ = blobs(400, seed=2)
    wanted, weak = by_hand(x, correct, pool, 20, k)
    assert len(weak) == k and len(wanted) > 40 * (k > 1)
    sel = hs.select_weak_clusters(dataset(pool), dataset(x, correct=correct), n_clusters=20, k=k, budget=share)
    number = len(wanted) if share is None else min(len(wanted), int(share * 400))
    assert sel.ranked.tolist() == wanted[:number]
    told = sel.facts["weak_clusters"]
    assert [(one["cluster"], one["count"], one["judged"]) for one in told] == [one[:3] for one in weak]
    np.testing.assert_allclose([one["mean"] for one in told], [one[3] for one in weak])
    assert sum(one["taken"] for one in told) == len(sel) and sum(one["rows"] for one in told) == len(wanted)


def test_of_a_word_error_rate_higher_is_worse():
    x, place = blobs(500)
    wer = (np.random.default_rng(3).gamma(2, 0.1, 500) * (1 + place)).tolist()
    pool, _ = blobs(300, seed=4)
    wanted, _ = by_hand(x, wer, pool, 6, 2, sign=1)
    sel = hs.select_weak_clusters(dataset(pool), dataset(x, wer=wer), n_clusters=6, k=2, outcome="wer")
    assert sel.ranked.tolist() == wanted and sel.facts["direction"] == "higher"
    assert "Higher wer is taken as worse" in sel.warnings[-1]
    best = hs.select_weak_clusters(
        dataset(pool), dataset(x, wer=wer), n_clusters=6, k=2, outcome="wer", direction="lower"
    )
    assert best.ranked.tolist() == by_hand(x, wer, pool, 6, 2)[0] and not best.warnings
    assert not set(best.indices) & set(sel.indices)


def test_standardised_by_the_numbers_of_the_validation_set():
    x, place = blobs(500)
    pool, _ = blobs(300, seed=5)
    scale = np.array([1, 10, 100, 1, 1, 0.1, 1, 1], np.float32)
    x, pool = x * scale + 7, pool * scale + 9  # the pool's own mean is another one
    correct = (np.random.default_rng(3).random(500) < 0.3 + 0.1 * place).astype(int).tolist()
    fitted = StandardScaler().fit(x.astype(np.float64))
    a, b = (fitted.transform(vectors).astype(np.float32) for vectors in (x, pool))
    wanted, _ = by_hand(a, correct, b, 8, 2)
    arguments = {"n_clusters": 8, "k": 2, "standardize": "features"}
    sel = hs.select_weak_clusters(dataset(pool), dataset(x, correct=correct), **arguments)
    assert sel.ranked.tolist() == wanted
    # a dimension that is constant in the validation set counts for nothing
    more = [
        np.concatenate([vectors, extra], axis=1) for vectors, extra in ((x, np.full((500, 1), 0.1)), (pool, b[:, :1]))
    ]
    again = hs.select_weak_clusters(dataset(more[1]), dataset(more[0], correct=correct), **arguments)
    assert again.ranked.tolist() == wanted
    np.testing.assert_allclose(again.score, sel.score, rtol=1e-6)


def test_rows_standardised_each_by_itself():
    x, place = blobs(300)
    pool, _ = blobs(200, seed=6)
    correct = (np.random.default_rng(3).random(300) < 0.3 + 0.1 * place).astype(int).tolist()
    a, b = ((v - v.mean(axis=1, keepdims=True)) / v.std(axis=1, keepdims=True) for v in (x, pool))
    wanted, _ = by_hand(a, correct, b, 6, 2)
    louder = pool * np.random.default_rng(0).uniform(1, 9, (200, 1)).astype(np.float32)
    for vectors in (pool, louder):
        sel = hs.select_weak_clusters(
            dataset(vectors), dataset(x, correct=correct), n_clusters=6, k=2, standardize="rows"
        )
        assert sel.ranked.tolist() == wanted


def example():
    x, place = blobs(300)
    correct = (np.random.default_rng(3).random(300) < 0.3 + 0.1 * place).tolist()
    return dataset(x, correct=correct), blobs(250, seed=7)[0]


def test_a_budget_is_a_prefix():
    validation, x = example()
    pool = dataset(x, duration=[1.0] * 250, speaker=["a", "b"] * 125)
    whole = hs.select_weak_clusters(pool, validation, n_clusters=8, k=3)
    assert (np.diff(whole.score[whole.ranked]) <= 0).all()
    for budget in (1, 20, 0.1, "12s"):
        sel = hs.select_weak_clusters(pool, validation, n_clusters=8, k=3, budget=budget)
        assert sel.ranked.tolist() == whole.ranked[: len(sel)].tolist()
        assert sum(one["taken"] for one in sel.facts["weak_clusters"]) == len(sel) < len(whole)
    assert whole.take(20).indices.tolist() == whole.ranked[:20][np.argsort(whole.ranked[:20])].tolist()
    too_much = hs.select_weak_clusters(pool, validation, n_clusters=8, k=3, budget=250)
    assert len(too_much) == len(whole) and "asks for 250 rows" in too_much.warnings[-1]
    each = hs.select_weak_clusters(pool, validation, n_clusters=8, k=3, budget=5, per="speaker")
    assert np.bincount(each.indices % 2).tolist() == [5, 5]


def test_the_seed_decides():
    validation, x = example()
    first, again, other = (
        hs.select_weak_clusters(dataset(x), validation, n_clusters=12, k=2, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again != other and first.seed == 1
    assert first.indices.tolist() != other.indices.tolist()


def test_a_pool_in_another_order_and_in_pieces_gives_the_same():
    validation, x = example()
    pool = dataset(x, id=list(range(250)))
    wanted = hs.select_weak_clusters(pool, validation, n_clusters=8, k=3, key="id").ranked
    mixed = pool.shuffle(seed=1)
    assert np.array(mixed["id"])[hs.select_weak_clusters(mixed, validation, n_clusters=8, k=3).ranked].tolist() == [
        *wanted
    ]
    pieces = concatenate_datasets([pool.select(range(100)), pool.select(range(100, 250))])
    assert hs.select_weak_clusters(pieces, validation, n_clusters=8, k=3).ranked.tolist() == wanted.tolist()


def test_many_rows_go_block_by_block():
    validation, _ = example()
    x, _ = blobs(20_000, seed=8)
    wanted = hs.select_weak_clusters(dataset(x), validation, n_clusters=8, k=3)
    some = np.sort(np.random.default_rng(0).choice(20_000, 500, replace=False))
    part = hs.select_weak_clusters(dataset(x).select(some), validation, n_clusters=8, k=3)
    np.testing.assert_allclose(part.score, wanted.score[some], rtol=1e-6)
    assert part.group.tolist() == wanted.group[some].tolist()


def test_bad_vectors_are_set_aside_on_both_sides():
    validation, x = example()
    clean = hs.select_weak_clusters(dataset(x), validation, n_clusters=8, k=3)
    spoilt = np.insert(x, [10, 200], [[np.nan] * 8, [np.inf] + [0] * 7], axis=0).tolist()
    pool = Dataset.from_dict({"embedding": [*spoilt, None]})
    sel = hs.select_weak_clusters(pool, validation, n_clusters=8, k=3)
    back = np.delete(np.arange(252), [10, 201])
    assert back[clean.ranked].tolist() == sel.ranked.tolist()
    assert sel.excluded["no finite vector in embedding"] == 3 and not sel.warnings
    more = dataset([[np.nan] * 8, [np.inf] * 8], correct=[True, False])
    sel = hs.select_weak_clusters(dataset(x), concatenate_datasets([validation, more]), n_clusters=8, k=3)
    assert sel.ranked.tolist() == clean.ranked.tolist()
    assert sel.warnings == ("2 of 302 rows of the validation set are left out: no finite vector in embedding.",)


def test_rows_with_bad_audio_count_on_neither_side():
    pool = POOL.add_column("audio_status", ["ok", "truncated: 1 of 2 s"] * 4)
    sel = hs.select_weak_clusters(pool, VALIDATION, n_clusters=4, k=1, n_init=10)
    assert sel.indices.tolist() == [4] and sel.facts["weak_clusters"][0]["rows"] == 3
    validation = VALIDATION.add_column("audio_status", ["ok"] * 4 + ["silent: all of it"] * 2 + ["ok"] * 2)
    sel = hs.select_weak_clusters(POOL, validation, n_clusters=3, k=1, n_init=10)
    assert sel.indices.tolist() == [3, 5, 7]  # the cluster around 11 is the worst of those left
    assert sel.warnings == ("2 of 8 rows of the validation set are left out: silent.",)


def test_equal_rows_leave_clusters_empty_and_these_attract_nobody():
    validation = Dataset.from_dict({"embedding": [[5.0]] * 4 + [[9.0]] * 4, "correct": [1] * 4 + [0] * 4})
    pool = Dataset.from_dict({"embedding": [[7.1], [6.9], [8.0], [0.0]]})
    sel = hs.select_weak_clusters(pool, validation, n_clusters=5, k=2)
    assert sel.ranked.tolist() == [2, 0]
    assert "2 distinct clusters were found, and 5 asked for" in sel.warnings[0]


def test_of_equally_bad_clusters_the_larger_goes_first():
    validation = Dataset.from_dict(
        {"embedding": [[0.0], [0.0], [5.0], [5.0], [5.0], [9.0]], "correct": [0, 0, 0, 0, 0, 1]}
    )
    pool = Dataset.from_dict({"embedding": [[0.0], [5.0], [9.0]]})
    sel = hs.select_weak_clusters(pool, validation, n_clusters=3, k=1)
    assert sel.indices.tolist() == [1]
    assert hs.select_weak_clusters(pool, validation, n_clusters=3, k=2).indices.tolist() == [0, 1]


def test_nobody_near_is_a_warning():
    far = Dataset.from_dict({"embedding": [[1.0], [11.0]]})
    sel = hs.select_weak_clusters(far, VALIDATION, n_clusters=4, k=1, n_init=10)
    assert len(sel) == 0 and "No row of the pool is nearest to any of the 1 weak clusters." in sel.warnings
    validation = VALIDATION.remove_columns("correct").add_column("correct", [1, 1, 1, 0, 0, 0, 0, 0])
    near = Dataset.from_dict({"embedding": [[21.0]]})
    sel = hs.select_weak_clusters(near, validation, n_clusters=4, k=2, n_init=10)
    assert len(sel) == 1 and sel.warnings[0].startswith("1 of 2 weak clusters have no row in the pool: ")


def test_it_goes_with_the_rest_of_a_selection(tmp_path):
    validation, x = example()
    pool = dataset(x, id=list(range(250)))
    before = validation._fingerprint
    sel = hs.select_weak_clusters(pool, validation, n_clusters=np.int64(8), k=np.int64(3), budget=10, key="id")
    sel.save(tmp_path / "sel")
    assert hs.Selection.load(tmp_path / "sel") == sel and validation._fingerprint == before
    assert sel.params["validation"] == f"300 rows, fingerprint {before}"
    assert sel.apply(pool)["id"][:] == sel.indices.tolist()
    twice = sel.then(hs.select_random(sel.apply(pool), budget=4, key="id"))
    assert len(twice) == 4 and set(twice.indices) <= set(sel.indices)


def fails(error, match, pool=POOL, validation=VALIDATION, **more):
    with pytest.raises(error, match=match):
        hs.select_weak_clusters(pool, validation, **{"n_clusters": 4, "k": 2, **more})


def test_wrong_arguments():
    fails(ArgumentError, r"k is a whole number from 1 to n_clusters \(4\); got 5", k=5)
    fails(ArgumentError, "got 0", k=0)
    fails(ArgumentError, "got True", k=True)
    fails(ArgumentError, "got 1.5", k=1.5)
    fails(ArgumentError, "n_clusters is a whole number of at least 1; got 'auto'", n_clusters="auto")
    fails(ArgumentError, "n_clusters=9 is more than the 8 rows of the validation set", n_clusters=9)
    fails(ArgumentError, "'lower' or 'higher', or None; got 'worse'", direction="worse")
    fails(ArgumentError, "'features', 'rows', None; got 'columns'", standardize="columns")
    fails(ArgumentError, "n_init is a whole number", n_init=0)
    fails(ArgumentError, "seed is a whole number", seed=-1)


def test_nothing_is_worse_than_average():
    fails(ArgumentError, r"worse than its average \(0\.5\)", n_clusters=1, k=1)
    thirds = VALIDATION.remove_columns("correct").add_column("wer", [0.1, 0.3, 0.3, 0.1, 0.1, 0.3, 0.1, 0.3])
    fails(ArgumentError, "Ask for more clusters", validation=thirds, outcome="wer", n_init=10)
    constant = VALIDATION.remove_columns("correct").add_column("correct", [1] * 8)
    fails(ConstantOutcomeError, "is 1 in all 8 rows", validation=constant)
    apart = Dataset.from_dict({"embedding": [[1.0], [2.0], None, None], "correct": [None, None, 0, 1]})
    fails(ArgumentError, "both an outcome and a vector", validation=apart, n_clusters=2)


def test_wrong_data():
    fails(ColumnError, r"The pool: there is no column 'embedding'", pool=POOL.rename_column("embedding", "vector"))
    fails(ColumnError, r"The validation set: there is no column 'correct'", validation=POOL)
    fails(ColumnError, r"The validation set: there is no column 'x'", pool=POOL.add_column("x", [1] * 8), column="x")
    wide = Dataset.from_dict({"embedding": [[1.0, 2.0]]})
    fails(ColumnError, "of 2 numbers in the pool and of 1 in the validation set", pool=wide)
    fails(ColumnError, "vectors are needed", pool=Dataset.from_dict({"embedding": ["a"]}))
    fails(ColumnError, "different lengths", pool=Dataset.from_dict({"embedding": [[1.0], [1.0, 2.0]]}))
    text = VALIDATION.remove_columns("correct").add_column("correct", ["yes"] * 8)
    fails(ColumnError, "0/1 .right or wrong. or numbers are needed", validation=text)
    empty = VALIDATION.remove_columns("correct").add_column("correct", [None] * 8)
    fails(ColumnError, "has no value in any of 8 rows", validation=empty)
    fails(DatasetError, "validation= needs a datasets.Dataset and got list", validation=[1, 2])
    fails(DatasetError, "select_weak_clusters needs a datasets.Dataset and got list", pool=[1, 2])
