"""Runs of `score` that are killed at any instant, or interrupted: the next one finishes them, to the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LAB = Path(__file__).with_name("lab.py")
POINTS = 40
ROWS, CHUNK = 120, 32  # as in lab.py
BATCH = 8  # of score
LIMIT = 240  # seconds, on a machine that does other things too

pytestmark = pytest.mark.slow


def lab(*arguments: object, threads: int = 1) -> list[dict]:
    """Return what a lab process says, one dictionary a line."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(LAB.parents[2])}
    command = [sys.executable, str(LAB), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, env=environment)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_instant_the_next_run_ends_with_the_same_bytes(tmp_path):
    whole, *points = lab("kill", tmp_path, POINTS)
    assert whole["rows"] == ROWS and len(points) == POINTS
    for point in points:
        assert point["died"] == -9 and point["code"] == 0 and point["digest"] == whole["whole"]
        assert point["left"] == ["scores.arrow", "scores.json", "scores.sha256"]
        assert point["again"] == ROWS - point["there"]  # nothing that was finished is done again,
        # and of what was not, a chunk at most, and the batch that was under way beside its last one
        assert point["before"] + point["again"] <= ROWS + CHUNK + BATCH
    there = [point["there"] for point in points]  # the instants really lay in different places
    assert {0, CHUNK, 2 * CHUNK, 3 * CHUNK} <= set(there)
    assert any(point["before"] == 0 for point in points)
    assert any(point["there"] == ROWS and not point["joined"] for point in points)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_control_c_gives_the_prompt_back_and_keeps_what_is_finished(tmp_path):
    whole, *runs = lab("interrupt", tmp_path)
    assert len(runs) == 3
    for run in runs:
        assert run["died"] == 130 and run["took"] < 2
        assert run["wanted"] <= run["there"] < ROWS
        assert run["code"] == 0 and run["again"] == ROWS - run["there"] and run["digest"] == whole["whole"]


def test_threads_of_torch_that_are_warm_do_no_harm(tmp_path):
    (run,) = lab("warm", tmp_path, threads=2)
    assert run["threads"] == 2 and run["seconds"] < 60 and len(run["digest"]) == 64
