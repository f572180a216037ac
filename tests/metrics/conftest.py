"""Caches of evaluate of their own: a metric writes its rows to one, and `evaluate.load` copies modules to the other."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def evaluate_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(autouse=True)
def own_evaluate_cache(evaluate_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import evaluate

    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", str(evaluate_home / "rows"))
    monkeypatch.setattr(evaluate.config, "HF_MODULES_CACHE", str(evaluate_home / "modules"))
