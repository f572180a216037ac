"""The contract, run over every method; and proof that it catches selectors that break it."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset

import hf_select as hs
from hf_select import methods
from hf_select.choice import Choice
from hf_select.subgroups.conditions import Condition
from hf_select.subgroups.subgroup import Subgroup
from hf_select.testing import ContractError, SelectorCase, check_selector, selector_checks

SUBGROUPS = [  # every row belongs to one of the last two
    Subgroup((Condition("label", "no"), Condition("duration", "high", low=1.0)), divergence=-0.4, count=9),
    Subgroup((Condition("duration", "low", high=1.2),), divergence=-0.3, count=20),
    Subgroup((Condition("duration", "high", low=1.2),), divergence=-0.1, count=40),
]
NEAR, FAR = np.vstack([np.eye(5), -np.eye(5)]), np.full((10, 5), 100.0)  # all rows are nearer to where the model fails
OUTCOMES = Dataset.from_dict({"embedding": [*NEAR.tolist(), *FAR.tolist()], "correct": [0] * 10 + [1] * 10})

CASES = {
    "select_random": SelectorCase(methods.select_random, chance=True),
    "select_by_score": SelectorCase(
        methods.select_by_score, {"column": "loss"}, column="loss", values="numbers", permutable=True
    ),
    "select_kmeans": SelectorCase(
        methods.select_kmeans, {"n_clusters": 4}, column="embedding", values="vectors", nested=False
    ),
    "select_meltrim": SelectorCase(
        methods.select_meltrim,
        {"column": "embedding", "reducer": "pca", "min_samples": 2, "eps": 100.0},
        column="embedding",
        values="vectors",
        nested=False,
    ),
    "select_subgroups": SelectorCase(
        methods.select_subgroups, {"subgroups": SUBGROUPS}, chance=True, needs_budget=False
    ),
    "select_weak_clusters": SelectorCase(
        methods.select_weak_clusters,
        {"validation": OUTCOMES, "n_clusters": 2, "k": 1},
        column="embedding",
        values="vectors",
        permutable=True,
        needs_budget=False,
    ),
}


def test_every_method_has_a_case():
    assert sorted(CASES) == sorted(methods.__all__)


@pytest.mark.parametrize(
    ("method", "name", "check"), [(m, *c) for m, case in CASES.items() for c in selector_checks(case)]
)
def test_contract(method, name, check):
    check()


VARIANTS = [
    {"metric": "manhattan"},
    {"medoids": True},
    {"metric": "cosine", "medoids": True},
    {"backend": "faiss"},
    {"n_clusters": "auto"},
    {"pca": 0.9, "standardize": "rows"},
    {"memory": "2GB", "n_init": 2, "tol": 1e-4},
]


@pytest.mark.parametrize("arguments", VARIANTS, ids=str)
def test_contract_of_kinds_of_clustering(arguments):
    if arguments.get("backend") == "faiss":
        pytest.importorskip("faiss")
    arguments = {"n_clusters": 4, **arguments}
    assert (
        check_selector(methods.select_kmeans, arguments=arguments, column="embedding", values="vectors", nested=False)
        >= 60
    )


def test_contract_of_proportional_filling():
    arguments = {"subgroups": SUBGROUPS, "fill": "proportional"}
    assert check_selector(methods.select_subgroups, arguments=arguments, chance=True, needs_budget=False) >= 60


@pytest.mark.parametrize("method", CASES)
def test_there_are_at_least_sixty_checks(method):
    assert len(list(selector_checks(CASES[method]))) >= 60


def good(ds, *, budget, seed=0, **rows):
    choice = Choice(ds, "good", {}, budget=budget, seed=seed, **rows)
    return choice.close(np.random.default_rng(seed).random(len(ds)))


def forgets_seed(ds, *, budget, seed=0, **rows):
    return good(ds, budget=budget, seed=0, **rows)


def rounds_up(ds, *, budget, seed=0, **rows):
    more = min(len(ds), round(budget * len(ds)) + 1) if isinstance(budget, float) and 0 < budget < 1 else budget
    return good(ds, budget=more, seed=seed, **rows)


def draws_anew(ds, *, budget, seed=0, **rows):
    return good(ds, budget=budget, seed=np.random.default_rng().integers(1 << 30), **rows)


def uses_global_randomness(ds, *, budget, seed=0, **rows):
    np.random.seed(seed)  # noqa: NPY002
    return good(ds, budget=budget, seed=seed, **rows)


def decodes(ds, *, budget, seed=0, **rows):
    if hasattr(ds, "column_names") and "audio" in ds.column_names and hasattr(ds, "_indices"):
        ds[0]
    return good(ds, budget=budget, seed=seed, **rows)


def ignores_status(ds, *, budget, seed=0, **rows):
    return good(ds, budget=budget, seed=seed, status=None, **rows)


def looks_at_budget(ds, *, budget, seed=0, **rows):
    choice = Choice(ds, "looks", {}, budget=budget, seed=seed, **rows)
    return choice.close(np.random.default_rng(len(str(budget))).random(len(ds)))


@pytest.mark.parametrize(
    ("broken", "caught"),
    [
        (forgets_seed, "another seed"),
        (rounds_up, "keeps floor"),
        (draws_anew, "same seed same rows"),
        (uses_global_randomness, "global randomness"),
        (decodes, "share 0.5"),
        (ignores_status, "rows with a reason"),
        (looks_at_budget, "prefix"),
        (lambda ds, **more: [1, 2], "returns a Selection"),
    ],
)
def test_broken_selectors_are_caught(broken, caught):
    with pytest.raises(ContractError, match=caught):
        check_selector(broken, chance=True)


def test_a_function_of_ones_own_passes():
    assert check_selector(good, chance=True) >= 60


def test_traits_of_a_column_are_checked():
    def lowest(ds, *, budget, column, seed=None, **rows):
        sel = hs.select_by_score(ds, budget=budget, column=column, seed=seed, **rows)
        return sel

    assert check_selector(lowest, arguments={"column": "x"}, column="x", values="numbers", permutable=True) > 85
