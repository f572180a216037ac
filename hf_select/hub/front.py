"""The front matter of a card: what the Hub reads. Built for our configs, merged into what others wrote."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from hf_select.errors import ArgumentError, HubError
from hf_select.report.markdown import shown

if TYPE_CHECKING:
    from datasets import Features

__all__ = ["DEFAULT", "CardInfo", "dataset_info", "inherited_terms", "merge", "read_front", "write_front"]

CardInfo = dict[str, Any]
DEFAULT = "default"  # the name of the config of files that stand in no config
_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B")
_LISTS = ("language", "task_categories", "source_datasets", "tags")  # what several configs bring is put together
_ORDER = ("license", "license_name", "license_link", "language", "pretty_name", "task_categories", "size_categories")
_LAST: tuple[str, ...] = ("configs", "dataset_info")
_BLOCK = re.compile(r"\A(\s*---\r?\n)(.*?)(\r?\n---[ \t]*(?:\r?\n|\Z))", re.DOTALL)  # as the Hub finds it
_KNOWN = (  # licences of data, as the Hub names them; it knows more, and those come from the card of the source
    "apache-2.0 mit bsd-3-clause cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 "
    "cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 "
    "cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 gfdl gpl-2.0 gpl-3.0 lgpl-3.0 agpl-3.0 mpl-2.0 odc-by odbl pddl "
    "unlicense unknown"
)
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]+)*|code|multilingual")
_INVISIBLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\xa0\xad\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ud800-\udfff]")


def dataset_info(features: Features, name: str, split: str, rows: int, size: int, download: int) -> dict[str, Any]:
    """Return the `dataset_info` of one config in the form of `datasets`; audio is written as audio, decoded or not."""
    from datasets import DatasetInfo, SplitDict, SplitInfo
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCardData

    splits = SplitDict()
    splits.add(SplitInfo(split, num_bytes=size, num_examples=rows))
    info = DatasetInfo(features=_decoded(features), splits=splits, download_size=download, dataset_size=size)
    data = DatasetCardData()
    DatasetInfosDict({name: info}).to_dataset_card_data(data)
    found = {"config_name": name, **data["dataset_info"]}
    if not size:
        del found["dataset_size"]  # num_bytes of the split must stand there, else datasets leaves out the count of rows
    if not download:
        del found["download_size"]
    return found


def inherited_terms(card: Mapping[str, Any], licence: str | None, *, gate: bool) -> CardInfo:
    """Return what a subset takes over from the front matter of its source: licence, language and, with rows, the gate."""
    found: CardInfo = {}
    name = (licence or "").strip().lower()
    if name == "other":
        found["license"] = name
        found |= {key: str(card[key]) for key in ("license_name", "license_link") if card.get(key)}
    elif name in _KNOWN.split() or (name and name in _listed(card.get("license"))):
        found["license"] = name
    elif name:
        found |= {"license": "other", "license_name": re.sub(r"[^a-z0-9.+-]+", "-", name).strip("-") or "other"}
    # YAML 1.1 reads the language `no` as False
    languages = ["no" if value is False else str(value) for value in _listed(card.get("language"))]
    if spoken := [language for language in languages if _LANGUAGE.fullmatch(language)]:
        found["language"] = spoken
    if gate:
        found |= {name: value for name, value in sorted(card.items()) if name.startswith("extra_gated")}
    return found


def read_front(text: str) -> tuple[str, CardInfo, str]:
    """Split a README into (its front matter as text, as values, the rest).

    Raises:
        HubError: the front matter is not a YAML mapping.
    """
    text = text.removeprefix("\ufeff")
    found = _BLOCK.match(text)
    if found is None:
        return "", {}, text
    try:
        values = yaml.safe_load(found[2])
    except (yaml.YAMLError, ValueError) as error:
        problem = shown(getattr(error, "problem", None) or error, 120)
        raise HubError(
            f"The README.md that is there has front matter that is no YAML ({problem}): mend it first."
        ) from error
    if not isinstance(values or {}, dict):
        raise HubError(
            "The README.md that is there has front matter that is no mapping of names to values: mend it first."
        )
    return found[2], values or {}, text[found.end() :]


def merge(
    old: CardInfo,
    parts: Iterable[tuple[str, CardInfo, CardInfo, CardInfo]],
    *,
    pretty_name: str,
    default: str | None = None,
    unlisted: Sequence[Mapping[str, Any]] = (),
) -> CardInfo:
    """Return front matter with our configs put in; every key and config of others stays.

    Args:
        old: the front matter there is.
        parts: for each of our configs (name, entry of `configs`, `dataset_info`, other keys).
        pretty_name: of a card that has none.
        default: the config that `load_dataset` takes without a name; None: as it is, else our first.
        unlisted: data files of the repository that no config lists; they would vanish from sight beside ours.
    """
    new = {name: value for name, value in old.items() if value is not None}
    configs = {str(entry.get("config_name", DEFAULT)): dict(entry) for entry in _dicts(old.get("configs"))}
    infos = {str(entry.get("config_name", DEFAULT)): entry for entry in _dicts(old.get("dataset_info"))}
    if unlisted and not configs:
        configs[DEFAULT] = {"config_name": DEFAULT, "data_files": [dict(files) for files in unlisted]}
    mine = []
    for name, entry, info, keys in parts:
        was = configs.get(name, {})
        configs[name] = {**entry, **({"default": True} if was.get("default") else {})}
        infos[name] = info
        mine.append(name)
        for key, value in keys.items():
            new[key] = _joined(key, new.get(key), value)
    _set_default(configs, default, mine)
    new.setdefault("pretty_name", pretty_name)
    new["configs"] = [configs[name] for name in sorted(configs)]
    listed = [infos[name] for name in sorted(infos)]
    new["dataset_info"] = listed if len(listed) > 1 else listed[0]
    new["size_categories"] = _size(configs, infos, _listed(old.get("size_categories")))
    return new


def write_front(old_text: str, old: CardInfo, new: CardInfo) -> str:
    """Write front matter; what did not change stays as it was written, comments included.

    Raises:
        HubError: what would be written does not read back as what was meant.
    """
    ordered = [name for name in _ORDER if name in new] + [name for name in new if name not in _ORDER]
    ordered = [name for name in ordered if name not in _LAST] + [name for name in _LAST if name in new]
    written = _patched(old_text, old, new, ordered)
    if written is None or yaml.safe_load(written) != new:  # aliases, or a mapping in braces: written anew
        written = "".join(_dumped(name, new[name]) for name in ordered)
    if yaml.safe_load(written) != new:
        raise HubError("The front matter of this card does not survive YAML: give columns and classes simpler names.")
    return f"---\n{written}---\n"


def _patched(text: str, old: CardInfo, new: CardInfo, ordered: list[str]) -> str | None:
    if not text.strip():
        return None
    root = yaml.compose(text, yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        return None
    text = text.rstrip() + "\n"
    starts = [key.start_mark.index for key, _ in root.value]
    written = text[: starts[0]]
    names = [key.value for key, _ in root.value]
    for name, start, stop in zip(names, starts, [*starts[1:], len(text)], strict=True):
        if name not in new:
            continue
        same = name in old and old[name] == new[name]
        written += text[start:stop] if same else _dumped(name, new[name])
    return written + "".join(_dumped(name, new[name]) for name in ordered if name not in names)


def _decoded(feature: Any) -> Any:
    """Return features with every Audio (or Image, Video) decoding: that is how rows of it are published."""
    import dataclasses

    from datasets import Features

    if isinstance(feature, Features):
        return Features({name: _decoded(value) for name, value in feature.items()})
    if isinstance(feature, dict):
        return {name: _decoded(value) for name, value in feature.items()}
    if isinstance(feature, list):
        return [_decoded(value) for value in feature]
    if getattr(feature, "decode", True) is False:
        return dataclasses.replace(feature, decode=True)
    inner = getattr(feature, "feature", None)
    return feature if inner is None else dataclasses.replace(feature, feature=_decoded(inner))


def _set_default(configs: dict[str, Any], default: str | None, mine: list[str]) -> None:
    there = [name for name, entry in configs.items() if entry.get("default") or name == DEFAULT]
    wanted = default or (there[0] if there else mine[0])
    if wanted not in configs:
        raise ArgumentError(f"default={wanted!r} is no config of this repository: {', '.join(sorted(configs))}.")
    if DEFAULT in configs and wanted != DEFAULT:
        raise ArgumentError(f"default={wanted!r}: a config is named 'default' here, and that is the one then.")
    for name, entry in configs.items():
        entry.pop("default", None)
        if name == wanted:
            entry["default"] = True


def _joined(key: str, old: Any, new: Any) -> Any:
    """Put together what an earlier card says with what a config brings: nobody's licence, language or gate is dropped."""
    if old in (None, "", []) or old == new:
        return new
    if key in _LISTS or key == "license":
        names = [value for value in _listed(old) if value is not None]
        joined = names + [value for value in _listed(new) if value not in names]
        return old if joined == names else joined
    if key == "extra_gated_prompt":
        return old if str(new).strip() in str(old) else f"{str(old).rstrip()}\n\n{new}"
    if isinstance(old, dict) and isinstance(new, dict):
        return {**new, **old}
    return old


def _size(configs: Mapping[str, Any], infos: Mapping[str, CardInfo], old: list[Any]) -> list[str]:
    """Return the size category of all rows; where a config does not count its own, at least what was said before."""
    counts = [_rows(infos.get(name, {})) for name in configs]
    rows = sum(count or 0 for count in counts)
    place = next((i for i in range(len(_SIZES)) if rows < 1000 * 10**i), len(_SIZES) - 1)
    if None in counts:
        place = max([place, *(_SIZES.index(size) for size in old if size in _SIZES)])
    return [_SIZES[place]]


def _rows(info: CardInfo) -> int | None:
    splits = _dicts(info.get("splits"))
    counts = [split["num_examples"] for split in splits if isinstance(split.get("num_examples"), int)]
    return sum(counts) if splits and len(counts) == len(splits) else None


def _dicts(value: Any) -> list[CardInfo]:
    return [entry for entry in _listed(value) if isinstance(entry, dict)]


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


class _Dumper(yaml.SafeDumper):
    """Text that holds something invisible is written in quotes with escapes, lines as lines, nothing by reference."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = '"' if _INVISIBLE.search(value) else "|" if "\n" in value.strip("\n") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def _dumped(name: str, value: Any) -> str:
    written = yaml.dump({name: value}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**9)
    return _INVISIBLE.sub(lambda found: f"\\u{ord(found[0]):04X}", str(written))  # all of them stand in double quotes
