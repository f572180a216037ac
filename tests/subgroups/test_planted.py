"""The weak subgroups that the demo corpus plants are found before anything else, and nothing is where nothing was planted."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from datasets import Dataset

import hf_select as hs
from hf_select.demo.cast import INTENTS, plan_lines, planted_name

BY = ["gender", "age", "accent", "rate_wpm", "snr_db", "noise", "action"]
NAMES = ["fast_scottish_women", "seniors_in_noise"]
SEEDS = range(20)


@functools.cache
def validation(seed: int, planted: bool = True) -> Dataset:
    """Plan the validation split (1,800 clips by 48 voices) and draw which clips a model would get right.

    92 % of all clips, 50 % of the planted ones; each speaker is a little easier or harder than that.
    """
    rng = np.random.default_rng(seed)
    rows, effects = [], {}
    for line in plan_lines(12_000, 192, seed, True)["validation"]:
        speaker = line.speaker
        row = {"gender": speaker.gender, "age": speaker.age, "accent": speaker.accent, "rate_wpm": line.rate_wpm}
        row |= {"snr_db": line.snr_db, "noise": line.noise, "action": INTENTS[line.label].action}
        weak = planted_name(row)
        effect = effects.setdefault(speaker.name, rng.normal(0, 0.02))
        right = rng.random() < (0.5 if planted and weak else 0.92) + effect
        rows.append({**row, "speaker": speaker.name, "planted": weak, "correct": bool(right)})
    return Dataset.from_list(rows)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bins", [3, {"rate_wpm": [219.5], "snr_db": [5.0]}], ids=["quantiles", "edges"])
def test_the_planted_subgroups_are_found_first(seed, bins):
    ds = validation(seed)
    members = {name: np.array([p == name for p in ds["planted"]]) for name in NAMES}
    groups = hs.find_subgroups(ds, BY, "correct", bins=bins, speaker="speaker")
    worst = groups.worst(redundancy=0.02)
    found: dict[str, hs.Subgroup] = {}
    for group in worst:  # down to where both have been met
        inside = group.mask(ds)
        shares = {name: (inside & rows).sum() / inside.sum() for name, rows in members.items()}
        name = max(shares, key=shares.get)
        assert shares[name] >= 0.5, f"{group} is met before {set(NAMES) - found.keys()}"
        if name not in found:
            found[name] = group
        if len(found) == 2:
            break
    assert found.keys() == {*NAMES}
    first = worst[0].mask(ds)
    assert (first & (members[NAMES[0]] | members[NAMES[1]])).sum() / first.sum() > 0.8
    for group in found.values():
        assert group.q <= 0.05
        assert group.p <= group.q
        assert group.high < groups.overall


@pytest.mark.slow
def test_nothing_is_found_where_nothing_was_planted():
    alarms = 0
    for seed in SEEDS:
        groups = hs.find_subgroups(validation(seed, False), BY, "correct", speaker="speaker")
        alarms += bool((groups.columns["q"] <= 0.05).any())
    assert alarms <= 3  # more than 3 of 20 have a chance of 1.6 % where each has 5 %
