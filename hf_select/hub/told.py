"""What a card tells of a method: what it does in words, the paper to cite, and the Python that makes the Selection again."""

from __future__ import annotations

import inspect
from typing import Any

from hf_select import methods
from hf_select.hub.calls import Call, calls_of
from hf_select.report.markdown import without_paths
from hf_select.selection import Selection
from hf_select.trimming import meltrim

__all__ = ["citation", "code_literal", "in_words", "names_of", "rebuild"]

_PRUNING = """\
@article{bergsma2023cluster,
  title = {Cluster-based pruning techniques for audio data},
  author = {Bergsma, Boris and Brzezinska, Marta and Yazyev, Oleg V. and Cernak, Milos},
  journal = {arXiv preprint arXiv:2309.11922},
  year = {2023}
}"""
_SUBGROUPS = """\
@inproceedings{koudounas2024prioritizing,
  title = {Prioritizing Data Acquisition for End-to-End Speech Model Improvement},
  author = {Koudounas, Alkis and Pastor, Eliana and Attanasio, Giuseppe and de Alfaro, Luca and Baralis, Elena},
  booktitle = {IEEE International Conference on Acoustics, Speech and Signal Processing (ICASSP)},
  year = {2024},
  doi = {10.1109/ICASSP48485.2024.10446326}
}

@inproceedings{pastor2021looking,
  title = {Looking for Trouble: Analyzing Classifier Behavior via Pattern Divergence},
  author = {Pastor, Eliana and de Alfaro, Luca and Baralis, Elena},
  booktitle = {Proceedings of the 2021 International Conference on Management of Data (SIGMOD)},
  year = {2021},
  doi = {10.1145/3448016.3457284}
}"""
_MELTRIM = """\
@misc{wang_meltrim,
  title = {MelTrim: Coarse-to-Fine Data Pruning for Speech Classification},
  author = {Wang, Shaobo and Niu, Tianle and Ouyang, Xuan and Li, Xintong and Ge, Zhengkun and Min, Yue and Liu, Xiaoqian
    and Wang, Hankun and Zhang, Linfeng}
}"""
_CITATIONS = {
    "select_kmeans": _PRUNING,
    "select_meltrim": _MELTRIM,
    "meltrim": _MELTRIM,
} | dict.fromkeys(  # the others are of no paper
    ("select_subgroups", "select_weak_clusters", "AcquisitionCallback"), _SUBGROUPS
)


def names_of(method: str) -> list[str]:
    """Return the selectors that made a Selection, in order: one, or several where `Selection.then` joined them."""
    return method.split(" then ")


def in_words(method: str) -> list[str]:
    """Return what each selector of a Selection does: the first line of its documentation; nothing for a stranger's."""
    known = {name: getattr(methods, name) for name in methods.__all__} | {"meltrim": meltrim}
    found = [known[name] for name in names_of(method) if name in known]
    return [(inspect.getdoc(function) or "").partition("\n")[0].replace("`", "") for function in found]


def citation(method: str) -> str:
    """Return the BibTeX of the papers of a method, "" where there is none to cite."""
    return "\n\n".join(dict.fromkeys(_CITATIONS[name] for name in names_of(method) if name in _CITATIONS))


def code_literal(value: Any) -> str:
    """Write a plain value as Python, in one line of ASCII, so that nothing in it can end a code block or a comment mark.

    >>> print(code_literal("<!-- `x` -->"), code_literal(["a", 0.5]))
    '\\x3c!-- \\x60x\\x60 --\\x3e' ['a', 0.5]
    """
    written = without_paths(ascii(value))
    return written.replace("<", "\\x3c").replace(">", "\\x3e").replace("`", "\\x60")


def rebuild(selection: Selection, source: dict[str, Any]) -> list[str]:
    """Return the lines of Python that load the source and make the Selection again.

    Args:
        selection: what was chosen; its facts may hold "recipe": the lines that compute the columns it was made on.
        source: repo_id, config, split, revision of the source; without a repo_id it is left to the reader.
    """
    if repo := source.get("repo_id"):
        given = [code_literal(value) for value in (repo, source.get("config")) if value]
        named = {"split": source.get("split"), "revision": source.get("revision")}
        given += [f"{name}={code_literal(value)}" for name, value in named.items() if value]
        lines = ["import hf_select as hs", "from datasets import load_dataset", ""]
        lines.append(f"ds = load_dataset({', '.join(given)})")
    else:
        lines = ["import hf_select as hs", "", f"ds = ...  # the {selection.num_rows:,} rows that were selected from"]
    recipe = selection.facts.get("recipe", "")
    lines += [_safe_line(line) for line in recipe.splitlines() if line.strip()]
    return [*lines, *_written(calls_of(selection))]


def _written(calls: list[Call]) -> list[str]:
    """Write calls as Python, each on what the one before it kept."""
    if [call.method for call in calls] == ["meltrim"]:
        arguments = dict(calls[0].arguments)
        name, digest = code_literal(arguments.pop("judge", "")), code_literal(arguments.pop("judge_digest", ""))
        given = [f"    {key}={code_literal(value)}," for key, value in arguments.items() if value not in (None, {})]
        return [
            f"judge = ...  # {name}; hf_select.scoring.model.load_model(judge).digest was {digest}",
            "sel = hs.meltrim(", "    ds,", "    judge,", *given, ")", "small = sel.apply(ds)",
        ]  # fmt: skip
    if not all(call.is_known for call in calls):
        return [f"sel = ...  # {calls[-1].method} is not of hf_select: selection.json holds its parameters"]
    lines: list[str] = []
    for number, call in enumerate(calls):
        if call.subgroups is not None:
            recorded = [f"    hs.Subgroup.from_dict({code_literal(values)})," for values in call.subgroups]
            lines += ["subgroups = [", *recorded, "]"]
        name = "second" if number else "sel"
        before = ["    sel.apply(ds)," if number else "    ds,", *(["    subgroups,"] if call.subgroups else [])]
        given = [f"    {key}={code_literal(value)}," for key, value in call.arguments.items()]
        lines += [f"{name} = hs.{call.method}(", *before, *given, ")", *(["sel = sel.then(second)"] if number else [])]
    return [*lines, "small = sel.apply(ds)"]


def _safe_line(line: str) -> str:
    """A recipe is code of our own, with names of columns in it."""
    line = without_paths(line).encode("ascii", "backslashreplace").decode()
    return line.replace("<", "\\x3c").replace("`", "\\x60")
