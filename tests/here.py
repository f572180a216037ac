"""The command line in this process: a process of its own takes five seconds to start."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from unittest import mock

import pytest


def run_here(*words: object, cache: object = None) -> subprocess.CompletedProcess[str]:
    """Return what `hf-select words` leaves behind."""
    import datasets

    from hf_select import cli

    out, beside, config = io.StringIO(), io.StringIO(), datasets.config
    with contextlib.ExitStack() as here:
        here.enter_context(mock.patch.object(sys, "argv", ["hf-select", *map(str, words)]))
        here.enter_context(mock.patch.object(config, "HF_DATASETS_CACHE", cache or config.HF_DATASETS_CACHE))
        here.enter_context(contextlib.redirect_stdout(out))
        here.enter_context(contextlib.redirect_stderr(beside))
        left = here.enter_context(pytest.raises(SystemExit))
        cli.main()
    return subprocess.CompletedProcess(list(map(str, words)), left.value.code or 0, out.getvalue(), beside.getvalue())
