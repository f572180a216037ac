"""The Hub's checks of a README's front matter, as far as publishing a dataset meets them."""

from __future__ import annotations

import re

import yaml

_LICENSES = (
    "apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m afl-3.0 "
    "artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 "
    "cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 "
    "cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 "
    "epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research "
    "intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl openmdw-1.0 openrail++ osl-3.0 postgresql "
    "ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 "
    "llama3.2 llama3.3 llama4 gemma grok2-community unknown other"
)
LICENSES = frozenset(_LICENSES.split())
SIZE = re.compile(
    r"n<1K|(1K<n<10K)|(10K<n<100K)|(100K<n<1M)|(1M<n<10M)|(10M<n<100M)|(100M<n<1B)|(1B<n<10B)|n>1T|unknown"
)
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9-]+)?|multilingual|code")
FRONT = re.compile(r"\s*---[ \t]*\r?\n(.*?)(?:^|\n)---[ \t]*(?:\r?\n|$)", re.DOTALL)


def front_matter(text: str) -> dict:
    """Return the metadata of a card; {} where it has none. Raises yaml.YAMLError or ValueError on a broken one."""
    found = FRONT.match(text.lstrip("\ufeff"))
    data = yaml.safe_load(found[1]) if found else None
    if data is not None and not isinstance(data, dict):
        raise ValueError("YAML metadata must be an object")
    return _plain(data or {})


def _plain(value):  # dates and the like, as JSON carries them
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _listed(data: dict, key: str) -> list:
    value = data.get(key)
    return [] if value is None else value if isinstance(value, list) else [value]


def card_problems(text: str) -> tuple[list[str], list[str]]:
    """Return the errors and the warnings that POST /api/validate-yaml gives."""
    try:
        data = front_matter(text)
    except (yaml.YAMLError, ValueError) as error:
        return [f"Invalid YAML: {error}"], []
    if not data:
        return [], ["empty or missing yaml metadata in repo card"]
    errors = []
    for key in ("tags", "task_categories", "task_ids", "source_datasets", "size_categories", "language", "license"):
        errors += [f'"{key}" must be strings, not {item!r}' for item in _listed(data, key) if not isinstance(item, str)]
    errors += [
        f'"license" must be one of the known ones, not {i!r}' for i in _listed(data, "license") if i not in LICENSES
    ]
    for item in _listed(data, "size_categories"):
        if not SIZE.fullmatch(str(item)):
            errors.append(f'"size_categories" must be one of n<1K, 1K<n<10K, ..., not {item!r}')
    for item in _listed(data, "language"):
        if not LANGUAGE.fullmatch(str(item)):
            errors.append(f'"language" must be an ISO 639-1, 639-2 or 639-3 code, not {item!r}')
    if "pretty_name" in data and not isinstance(data["pretty_name"], str):
        errors.append('"pretty_name" must be a string')
    return errors + _config_problems(data), []


def _config_problems(data: dict) -> list[str]:
    """Return what is wrong with `configs`: names must be there, single, and fit for a file name; one default."""
    configs = data.get("configs", [])
    if not isinstance(configs, list) or not all(isinstance(config, dict) for config in configs):
        return ['"configs" must be an array of objects']
    names = [config.get("config_name") for config in configs]
    errors = [f'"configs[{i}].config_name" is required' for i, name in enumerate(names) if not isinstance(name, str)]
    errors += [
        f'"configs[{i}].config_name" is invalid: {n!r}'
        for i, n in enumerate(names)
        if re.search(r"[<>:/\\|?*]", str(n))
    ]
    if len(set(names)) < len(names):
        errors.append('"configs" has a config_name twice')
    if sum(bool(config.get("default")) for config in configs) > 1:
        errors.append('"configs" has more than one default')
    return errors
