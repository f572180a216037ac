"""The README is true: its commands exist, its code runs, its table is complete, and CI runs its test command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

import hf_select as hs
from hf_select import methods
from hf_select.cli import app
from hf_select.testing import check_selector, make_rows

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)
SHELL = re.findall(r"```bash\n(.*?)```", README, re.S)
COMMANDS = [
    line.split("#")[0].split() for block in SHELL for line in block.splitlines() if line.startswith("hf-select")
]


def test_python_blocks_are_python():
    assert len(PYTHON) >= 3
    for block in PYTHON:
        compile(re.sub(r"^   ", "", block, flags=re.M), "README.md", "exec")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands_have_these_options(words):
    command = typer.main.get_command(app).commands[words[1]]
    there = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= there


def test_the_method_one_adds_keeps_the_contract():
    [block] = [b for b in PYTHON if "def select_loudest" in b]
    names: dict = {}
    exec(re.sub(r"^   ", "", block, flags=re.M), names)
    select = names["select_loudest"]
    ds = make_rows(20, column="rms_db", values="numbers")
    assert select(ds, budget=1).indices[0] == ds["rms_db"][:].index(max(ds["rms_db"]))
    assert check_selector(select, column="rms_db", values="numbers", permutable=True) > 80


def test_table_names_every_method():
    assert set(re.findall(r"^\| `(select_\w+)`", README, re.M)) == set(methods.__all__)


def test_ci_runs_the_test_command_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text()
    assert "<!-- test command -->" in script and "<!-- test command -->" in README
    block = README.split("<!-- test command -->")[1].split("```")[1]
    assert block.strip().splitlines()[-1].endswith("pytest")


def test_names_that_the_readme_uses_exist():
    for name in set(re.findall(r"\bhs\.(\w+)", README)):
        assert hasattr(hs, name)
