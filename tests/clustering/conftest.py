"""Matrices of the tests, closed at their end."""

from __future__ import annotations

import numpy as np
import pytest

from hf_select.clustering.matrix import Matrix


@pytest.fixture
def as_matrix():
    """Give a function that makes a matrix of rows, in memory or in a folder."""
    made = []

    def make(x, folder=None):
        made.append(Matrix(*x.shape, folder))
        made[-1].put(np.arange(len(x)), np.asarray(x, np.float32))
        return made[-1]

    yield make
    for matrix in made:
        matrix.close()
