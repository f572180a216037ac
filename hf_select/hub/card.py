"""The card of a repository of subsets: README.md made whole, or merged into the one that is there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from hf_select.errors import ArgumentError
from hf_select.hub.facts import ConfigFacts
from hf_select.hub.front import DEFAULT, CardInfo, merge, read_front, write_front
from hf_select.hub.losses import FEW, MOST_VALUES
from hf_select.hub.told import code_literal
from hf_select.report.markdown import CELL, escape_markdown, shown, template, without_paths
from hf_select.report.page import Table

__all__ = ["card_of"]

_HEAD = ":list"  # the mark of the part about all configs; a config's own mark holds no colon
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_CONFIG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


def card_of(
    parts: Sequence[ConfigFacts],
    repo_id: str,
    *,
    existing: str | None = None,
    default: str | None = None,
    unlisted: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return the README.md of a repository that holds these configs: equal facts give equal bytes.

    Args:
        parts: one or several configs.
        repo_id: "name/repository".
        existing: the README.md that is there. Its text and front matter stay: only what stands between our marks for these
            configs is replaced, or added at the end; configs of others are kept.
        default: the config that `load_dataset` takes without a name; None: as it is, else the first of `parts`.
        unlisted: data files that no config lists, as [{"split": "train", "path": "data/train-*"}]. They become the config
            "default", since files in no config can't be seen beside configs.

    Raises:
        ArgumentError: names that the Hub would refuse, or text that holds our marks. HubError: `existing` has front matter
        that can't be read.

    Relations:
        `config_facts` gathers the facts.
    """
    _check(parts, repo_id)
    windows = existing is not None and existing.count("\r\n") == existing.count("\n") > 0
    text = (existing or "").replace("\r\n", "\n") if windows else existing or ""
    old_front, old, body = read_front(text)
    wanted = [(part.config_name, _entry(part), part.info, part.front) for part in parts]
    new = merge(old, wanted, pretty_name=repo_id.split("/")[-1], default=default, unlisted=unlisted)
    fresh = not body.strip()
    if fresh or _mark(_HEAD, "begin") in body:
        body = _put(body, _HEAD, _render_head(repo_id, new))
    for part in parts:
        body = _put(body, part.config_name, _render(part, repo_id))
    card = write_front(old_front, old, new) + ("\n" if fresh or not old else "") + body.lstrip("\n" if fresh else "")
    return card.replace("\n", "\r\n") if windows else card


def _check(parts: Sequence[ConfigFacts], repo_id: str) -> None:
    names = [part.config_name for part in parts]
    if not parts or len(set(names)) < len(names):
        raise ArgumentError(f"A card is of one or several configs of different names; got {names}.")
    if not _REPOSITORY.fullmatch(repo_id):
        raise ArgumentError(f"repo_id= is 'name/repository' as on the Hub; got {repo_id!r}.")
    for part in parts:
        if not _CONFIG.fullmatch(part.config_name):
            raise ArgumentError(
                f"A config name is made of letters, digits, '.', '_' and '-', at most 96; got {part.config_name!r}."
            )
        if "<!-- hf_select:" in part.text:
            raise ArgumentError("The text for the card holds a mark of ours ('<!-- hf_select:'): take it out.")


def _entry(part: ConfigFacts) -> CardInfo:
    path = "train-*.parquet" if part.rows else "selection/selection.parquet"
    files = [{"split": part.split, "path": f"{part.config_name}/{path}"}]
    return {"config_name": part.config_name, "data_files": files}


# -- the parts of the text that are ours


def _mark(name: str, what: str) -> str:
    return f"<!-- hf_select: {what} {name} -->"


def _put(body: str, name: str, text: str) -> str:
    """Replace our part of this name, or add it: after the last of our parts, else at the end."""
    begin, end = _mark(name, "begin"), _mark(name, "end")
    ours = f"{begin}\n\n{text.strip()}\n\n{end}"
    own = re.compile(rf"{re.escape(begin)}(?:(?!<!-- hf_select: ).)*{re.escape(end)}", re.DOTALL)
    if own.search(body):
        return own.sub(lambda _: ours, body, count=1)
    ends = [found.end() for found in re.finditer(r"<!-- hf_select: end [^\s>]+ -->", body)]
    place = ends[-1] if ends else len(body.rstrip())
    before, after = body[:place], body[place:]
    return f"{before}\n\n{ours}{after if after.strip() else chr(10)}" if before else f"{ours}\n"


def _render_head(repo_id: str, front: CardInfo) -> str:
    infos = front["dataset_info"] if isinstance(front["dataset_info"], list) else [front["dataset_info"]]
    rows = {info.get("config_name", DEFAULT): info.get("splits") or [] for info in infos}
    table = []
    for entry in front["configs"]:
        name = entry["config_name"]
        sizes = ", ".join(
            f"{split['num_examples']:,} ({split['name']})" for split in rows.get(name, []) if "num_examples" in split
        )
        table.append([name, sizes or "not counted", "yes" if entry.get("default") else "no"])
    configs = Table(["config", "rows (split)", "default"], table, words=3) if len(table) > 1 else None
    return _written(configs=configs, name=repo_id.split("/")[-1], part=None)


def _render(part: ConfigFacts, repo_id: str) -> str:
    from markupsafe import Markup

    unit, scale = ("hours", 1.0) if (part.total["hours"] or 0) >= 2 else ("minutes", 60.0)
    return _written(
        part=part,
        folder=Markup(quote(part.config_name, safe="")),
        text=Markup(part.text.strip()),
        amount=_amount(part, unit, scale),
        source=_source(part.source),
        load=[Markup(line) for line in _load(part, repo_id)],
        verify=Markup(f"hf-select verify {repo_id} --config-name {part.config_name} --level full"),
        code=[Markup(line) for line in part.code],
        citation=Markup(part.citation),
        pictures=[(Markup(quote(file, safe="")), what) for file, what in part.pictures],
        tables=[_table(counts, unit, scale) for counts in part.tables],
        balance=_balance(part),
        excluded=Table(
            ["reason", "rows"], [[without_paths(why), f"{rows:,}"] for why, rows in part.excluded[:MOST_VALUES]]
        ),
        more_reasons=part.excluded[MOST_VALUES:],
        subgroups=_subgroups(part),
        lost=_lost(part),
        left_out=", ".join(shown(name, CELL) for name in part.left_out),
        params=_params(part),
        made=", ".join(f"{name} {version}" for name, version in sorted(part.made.items())),
        licence=part.front.get("license_name") or part.front.get("license"),
        few=FEW,
    )


def _written(**values: Any) -> str:
    return re.sub(r"\n{3,}", "\n\n", template("subset.md.j2").render(values))


def _amount(part: ConfigFacts, unit: str, scale: float) -> str:
    kept, total = part.kept, part.total
    share = f" ({kept['rows'] / total['rows']:.1%})" if total["rows"] else ""
    text = f"{kept['rows']:,} of {total['rows']:,} rows{share}"
    if kept["hours"] is None:
        return text
    return f"{text}, {kept['hours'] * scale:,.2f} of {total['hours'] * scale:,.2f} {unit} of audio"


def _source(source: dict[str, Any]) -> Any:
    """Name the source, with a link if it is a repository; all that is not plainly one is escaped."""
    from markupsafe import Markup

    details = [f"{name} {source[name]}" for name in ("config", "split", "revision") if source.get(name)]
    more = escape_markdown(f" ({', '.join(details)})", 160) if details else ""
    repo = source.get("repo_id")
    if repo and _REPOSITORY.fullmatch(repo):
        return Markup(
            f"[{escape_markdown(repo)}](https://huggingface.co/datasets/{repo})" + (f" {more.strip()}" if more else "")
        )
    name = repo or source.get("name")
    return Markup(escape_markdown(without_paths(name), 120)) if name else Markup("a dataset without a name")


def _load(part: ConfigFacts, repo_id: str) -> list[str]:
    given = f"{code_literal(repo_id)}, {code_literal(part.config_name)}"
    if part.rows:
        return [
            "from datasets import load_dataset",
            "",
            f"ds = load_dataset({given}, split={code_literal(part.split)})",
        ]
    return ["import hf_select as hs", "", f"ds = hs.load_subset({given})"]


def _table(counts: dict[str, Any], unit: str, scale: float) -> dict[str, Any]:
    values, hidden = counts["values"], counts["hidden"]
    timed = any(value[4] is not None for value in values)
    rows = [_value_row(value, scale, timed) for value in values[:MOST_VALUES]]
    notes = ["Numbers are cut into quarters of equal size."] if counts["quarters"] else []
    if rest := counts["rest"]:
        rows.append(_value_row([f"{len(values) - MOST_VALUES:,} more values", *rest], scale, timed))
        notes.append(f"Of {len(values):,} values, the {MOST_VALUES} that lost the largest share come first.")
    if any(value[1] is None for value in values):
        notes.append(f"Where 1 to {FEW - 1} rows are kept, their number is not given.")
    if hidden["values"]:
        many = "1 value" if hidden["values"] == 1 else f"{hidden['values']:,} values"
        of = f", {hidden['rows']:,} rows together," if hidden["rows"] and hidden["values"] > 1 else ""
        verb = "is" if hidden["values"] == 1 else "are"
        notes.append(f"{many} of fewer than {FEW} rows in the source{of} {verb} not shown.")
    hours = [f"{unit} kept", f"of {unit}"] if timed else []
    header = ["value", "rows kept", "of rows", "share kept", *hours]
    return {"column": counts["column"], "table": Table(header, rows, note=" ".join(notes))}


def _value_row(value: Sequence[Any], scale: float, timed: bool) -> list[str]:
    name, kept, total, hours, of = value
    if kept is None:
        cells = [f"under {FEW}", f"{total:,}", f"under {FEW / total:.1%}"]
    else:
        cells = [f"{kept:,}", f"{total:,}", f"{kept / total:.1%}"]
    audio = ["not given" if hours is None else f"{hours * scale:,.2f}", f"{(of or 0) * scale:,.2f}"] if timed else []
    return [name, *cells, *audio]


def _balance(part: ConfigFacts) -> Table:
    rows = [
        [table["column"], f"{before:,}", f"{after:,}", f"{was:.3f}", f"{now:.3f}"]
        for table in part.tables
        for before, after, was, now in [table["balance"]]
    ]
    return Table(["column", "values", "values left", "balance before", "after"], rows)


def _subgroups(part: ConfigFacts) -> Table:
    def count(rows: int) -> str:
        return f"{rows:,}" if rows == 0 or rows >= FEW else f"under {FEW}"

    rows = [
        [without_paths(name), count(there), count(taken)]
        for name, there, taken in part.method["subgroups"][:MOST_VALUES]
    ]
    return Table(["subgroup", "rows in the source", "rows taken"], rows)


def _lost(part: ConfigFacts) -> str:
    rows = part.total["rows"] - part.kept["rows"]
    if part.kept["hours"] is None:
        return f"{rows:,} rows"
    hours = part.total["hours"] - part.kept["hours"]
    return f"{rows:,} rows, " + (f"{hours:,.2f} hours" if part.total["hours"] >= 2 else f"{60 * hours:,.2f} minutes")


def _params(part: ConfigFacts) -> Table:
    method = part.method
    seed = [] if method["seed"] is None else [["seed", method["seed"]]]
    rows = [["method", method["name"]], ["budget (what is kept)", method["budget"]], *seed, *method["params"]]
    return Table(["what", "value"], rows, words=2)
