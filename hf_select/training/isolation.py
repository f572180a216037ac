"""What a callback does in the middle of a training must leave no trace in it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from hf_select.scoring.model import at_work

__all__ = ["apart"]


@contextmanager
def apart(model: Any, device: Any) -> Iterator[None]:
    """Put a model in evaluation mode while the block runs; its modes and all random numbers are then as they were.

    Those of Python and numpy too: a transform of the validation set may draw some.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with at_work(model, device):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
