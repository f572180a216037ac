"""The plan of the embedded corpus: an even cast, and planted subgroups where they are said to be."""

from __future__ import annotations

from collections import Counter

import pytest

from hf_select.demo.cast import HEAD_SHARE, INTENTS, plan_lines, planted_name, planted_subgroups


def test_the_default_cast_is_wide_and_balanced():
    plan = plan_lines(1200, 48, 0, False)
    lines = [line for split in plan.values() for line in split]
    speakers = {line.speaker for line in lines}
    assert [len(plan[split]) for split in ("train", "validation", "test")] == [840, 180, 180]
    assert len(speakers) == 48 and len({s.accent for s in speakers}) == 8
    assert Counter(s.gender for s in speakers) == {"female": 24, "male": 24}
    assert Counter(s.age for s in speakers) == {"young": 16, "adult": 16, "senior": 16}
    for split in plan.values():
        counts = Counter(line.label for line in split)
        assert max(counts.values()) - min(counts.values()) <= 1 and len(counts) == len(INTENTS)


def test_the_seed_of_every_clip_is_its_own():
    lines = [line for split in plan_lines(600, 48, 0, False).values() for line in split]
    assert len({line.seed for line in lines}) == 600


# ---- planted subgroups


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_subgroups_are_rare_first_and_usual_later(seed):
    plan = plan_lines(4000, 48, seed, True)
    head = int(HEAD_SHARE * len(plan["train"]))
    parts = {"head": plan["train"][:head], "tail": plan["train"][head:]} | {s: plan[s] for s in ("validation", "test")}
    for group in planted_subgroups():
        share = {}
        for part, lines in parts.items():
            names = [planted_name(_columns(line)) for line in lines]
            share[part] = names.count(group["name"]) / len(names)
        assert share["head"] < 0.02
        assert min(share["tail"], share["validation"], share["test"]) > 0.04


@pytest.mark.parametrize("voices", [3, 7, 48, 200])
def test_no_row_is_in_two_planted_subgroups(voices, monkeypatch):
    from hf_select.demo import cast

    lines = [line for split in plan_lines(3000, voices, 0, True).values() for line in split]
    first = [planted_name(_columns(line)) for line in lines]
    backwards = planted_subgroups()[::-1]
    monkeypatch.setattr(cast, "planted_subgroups", lambda: backwards)
    assert first == [planted_name(_columns(line)) for line in lines]


def test_several_voices_stand_behind_every_planted_subgroup():
    plan = plan_lines(1200, 48, 0, True)
    for split in ("validation", "test"):
        voices: dict[str | None, set[str]] = {}
        for line in plan[split]:
            voices.setdefault(planted_name(_columns(line)), set()).add(line.speaker.name)
        assert all(len(voices[group["name"]]) >= 2 for group in planted_subgroups())


def _columns(line):
    speaker = line.speaker
    return {
        "gender": speaker.gender,
        "age": speaker.age,
        "accent": speaker.accent,
        "rate_wpm": line.rate_wpm,
        "snr_db": line.snr_db,
    }
