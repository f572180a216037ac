"""Arguments from the command line, from a file, and over a file."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from hf_select.errors import ArgumentError
from hf_select.tasks import parse_arguments


@dataclass
class Some:
    name: str = "x"
    rows: int = 3
    share: float | None = None
    by: list[str] = field(default_factory=list)
    deep: bool = False
    how: str = "{}"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "name: y\nby: [a, b]\ndeep: true\nshare: null\n"),
        ("a.json", '{"name": "y", "by": ["a", "b"], "deep": true}'),
    ],
)
def test_a_file_and_words_over_it(tmp_path, name, text):
    file = tmp_path / name
    file.write_text(text)
    (found,) = parse_arguments([Some], [str(file), "--rows", "7", "--name", "z"])
    assert found == Some("z", 7, None, ["a", "b"], True)
    (alone,) = parse_arguments([Some], ["--by", "c", "--share", "0.5"])
    assert alone == Some(by=["c"], share=0.5)


@pytest.mark.parametrize(("name", "text"), [("a.yaml", "- 1\n"), ("a.json", "{"), ("a.yml", "a: [")])
def test_files_that_hold_something_else(tmp_path, name, text):
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(ArgumentError, match="arguments"):
        parse_arguments([Some], [str(file)])
    with pytest.raises(ArgumentError, match="can't be read"):
        parse_arguments([Some], [str(tmp_path / "none.yaml")])
