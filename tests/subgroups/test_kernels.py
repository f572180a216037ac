"""Compiled code: never old code with new, also where nothing can be kept on disk, also interrupted."""

from __future__ import annotations

import ast
from pathlib import Path

import numba
import numpy as np
import pytest

import hf_select
from hf_select.subgroups.bits import BitSets, pack
from hf_select.subgroups.compiled import compiled
from hf_select.subgroups.measuring import count_ones
from hf_select.subgroups.mining import mine

ROOM = Path(hf_select.__file__).parent / "subgroups"


def compiled_files() -> dict[str, ast.Module]:
    trees = {path.stem: ast.parse(path.read_text()) for path in ROOM.glob("*.py")}
    decorated = {
        name
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and "compiled" in map(ast.unparse, node.decorator_list)
    }
    return {name: trees[name] for name in decorated}


def test_compiled_code_calls_none_of_another_file():
    """What numba keeps on disk would not be compiled again when that other file changes."""
    found = compiled_files()
    assert found.keys() == {"kernels", "hypergeometric"}
    for name, tree in found.items():
        modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        own = {module.removeprefix("hf_select.subgroups.") for module in modules if module.startswith("hf_select.")}
        assert own == {"compiled"}, name


def test_without_a_place_to_keep_it_code_is_compiled_all_the_same(monkeypatch):
    njit = numba.njit

    def nowhere(*functions, cache: bool = False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(*functions, **options)

    monkeypatch.setattr(numba, "njit", nowhere)
    twice = compiled(lambda x: 2 * x)
    assert twice(21) == 42


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 1000])
def test_bits_hold_every_row(rows):
    rng = np.random.default_rng(rows)
    columns = [rng.integers(-1, 3, rows).astype(np.int32) for _ in range(3)]
    sets = BitSets.of(columns, [np.flatnonzero(np.bincount(c[c >= 0], minlength=3)) for c in columns])
    found = mine(sets, 1)
    codes = found.codes(sets, 3)
    right = rng.random(rows) < 0.5
    counts = count_ones(sets, found, pack(np.ones(rows, dtype=bool)), pack(right))
    for row, (support, judged, ones) in zip(codes, counts.T, strict=True):
        mask = np.logical_and.reduce([column == code for column, code in zip(columns, row, strict=True) if code >= 0])
        assert support == judged == mask.sum()
        assert ones == (mask & right).sum()
    assert len({tuple(row) for row in codes.tolist()}) == len(codes)


def test_the_longest_combination_has_a_value_of_every_attribute():
    sets = BitSets.of([np.zeros(10, dtype=np.int32)] * 9, [np.array([0])] * 9)
    assert len(mine(sets, 1)) == 2**9 - 1
    assert len(mine(sets, 1, max_length=2)) == 9 + 36
    assert len(mine(BitSets.of([], []), 1)) == 0
