"""The ready argument files fit the scripts they are for."""

from __future__ import annotations

import yaml
from scripts import TRAINERS, load_script

from hf_select.tasks import parse_arguments

KINDS = {"acquire": "acquire_and_train", "compare": "compare_acquisition", "meltrim": "compare_meltrim"}


def test_the_ready_files_are_arguments_of_their_scripts():
    files = sorted((TRAINERS / "arguments").glob("*.yaml"))
    assert len(files) >= 6
    for file in files:
        kind = KINDS[file.name.split("_")[0]]
        script = load_script(kind)
        third = script.AcquisitionArguments if kind == "acquire_and_train" else script.ComparisonArguments
        names = (script.ModelArguments, script.DataTrainingArguments, third, script.TrainingArguments)
        found = parse_arguments(names, [str(file), "--use_cpu", "True"])
        for name, value in yaml.safe_load(file.read_text()).items():
            given = next(getattr(own, name) for own in found if hasattr(own, name))
            given = getattr(given, "value", given)  # of an enumeration
            assert given in (value, str(value)) or (value, given) == ("none", []), (file.name, name, given)
