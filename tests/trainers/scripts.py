"""The scripts of `trainers/` as modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

TRAINERS = Path(__file__).resolve().parents[2] / "trainers"


def load_script(name: str):
    spec = importlib.util.spec_from_file_location(name, TRAINERS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module
