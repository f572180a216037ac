"""Compile a function by numba, kept on disk where there is a place to write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

__all__ = ["compiled"]

_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(function: _F) -> _F:
    """Compile by numba, without the interpreter's lock.

    Call a function with one kind of arguments only. What two processes that begin together keep on disk for two kinds may
    be mixed up: numba numbers the files of a function as they come.
    """
    njit: Any = numba.njit
    try:
        return cast(_F, njit(nogil=True, cache=True)(function))
    except RuntimeError:  # no folder can be written: compile in every process
        return cast(_F, njit(nogil=True)(function))
