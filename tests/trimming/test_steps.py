"""Both steps in one call are the steps one after the other; and what is written down of them."""

from __future__ import annotations

import numpy as np
import pytest
from vocabulary import WORDS, words

import hf_select as hs
from hf_select.errors import ArgumentError, ColumnError

COARSE = {"reducer": "pca", "eps": 1e4}


def run(ds, judge, **more):
    return hs.meltrim(ds, *judge, **{"budget": 4, "per": "label", "coarse": COARSE, "seed": 2, **more})


def test_it_is_the_steps_one_after_the_other(ds, judge):
    sel = run(ds, judge, coarse_budget=0.6)
    first = hs.select_meltrim(ds, budget=0.6, per="label", seed=2, **COARSE)
    cut = hs.score_segments(first.apply(ds), *judge, seed=2, overwrite=True)
    score = np.array(cut["segment_score"], float)
    kept = []
    for word in WORDS:
        own = [place for place in np.argsort(-score, kind="stable") if cut["label"][place] == word]
        kept += [int(first.indices[place]) for place in own[:4]]
    assert sel.indices.tolist() == sorted(kept) and len(sel) == 12
    places = {int(row): place for place, row in enumerate(first.indices)}
    for row, start, end in zip(sel.indices, sel.segment_start, sel.segment_end, strict=True):
        place = places[int(row)]
        assert (start, end) == (cut["segment_start"][place], cut["segment_end"][place])
        assert sel.score[row] == score[place]
    best = sel.ranked[0]
    assert score[places[int(best)]] == max(score[places[row]] for row in kept)


def test_over_all_rows_as_the_equation_says(ds, judge):
    sel = run(ds, judge, per=None, budget=0.2)
    assert len(sel) == 12 and (np.diff(sel.score[sel.ranked]) <= 0).all()
    assert sel.score[sel.indices].min() >= np.nanmax(np.delete(sel.score, sel.indices))


def test_what_apply_adds_and_what_is_told(ds, judge, tmp_path):
    sel = run(ds, judge)
    small = sel.apply(ds)
    assert small.column_names[-2:] == ["segment_start", "segment_end"] and len(small) == 12
    seconds = np.array(small["segment_end"]) - np.array(small["segment_start"])
    assert np.allclose(seconds, np.array(small["duration"]) / 4, atol=1e-3)
    facts = sel.facts
    assert facts["segment_hours"] == pytest.approx(seconds.sum() / 3600)
    assert facts["kept_hours"] == pytest.approx(sum(small["duration"]) / 3600)
    assert facts["segment_hours"] < facts["kept_hours"] < facts["coarse_hours"] < facts["total_hours"]
    assert facts["coarse"]["noise"] == 0 and facts["coarse"]["eps"] == 1e4
    assert sel.params["judge"] == "LeNetForAudioClassification" and len(sel.params["judge_digest"]) == 64
    sel.save(tmp_path)
    again = hs.Selection.load(tmp_path)
    assert again == sel and np.array_equal(again.segment_end, sel.segment_end)
    few = sel.take(2)
    assert few.segment_start.tolist() == [sel.segment_start[list(sel.indices).index(row)] for row in few.indices]
    inputs = hs.AudioInputs(judge[1], label_column=None, start_column="segment_start", end_column="segment_end")
    assert len(small.with_transform(inputs)[:]["input_features"]) == 12
    assert run(ds, judge) == sel and run(ds, judge, seed=3) != sel


def test_rows_that_are_no_clips(ds, judge):
    sel = run(ds, judge, budget=1.0, coarse_budget=1.0)
    assert (
        len(sel) == 58
        and sel.group[4].startswith("excluded: unreadable")
        and sel.group[7].startswith("excluded: missing")
    )
    sel = run(ds, judge, coarse_budget=0.5)
    reasons = {group for group in sel.group if group.startswith("excluded: coarse")}
    assert reasons == {"excluded: coarse step: not near enough to its centroid"}
    noise = run(ds, judge, per=None, budget=2, coarse={"reducer": "pca", "min_samples": 6})
    assert (np.array(noise.group) == "excluded: coarse step: noise").sum() == noise.facts["coarse"]["noise"] > 0


def test_a_budget_of_sound_is_one_of_segments(ds, judge):
    sel = run(ds, judge, per=None, budget="3s", coarse_budget=0.9)
    kept = float((sel.segment_end - sel.segment_start).sum())
    assert kept <= 3 < kept + 0.5 and kept == pytest.approx(sel.facts["segment_hours"] * 3600)


def test_rows_that_were_shuffled_are_found_again(ds, judge):
    sel, turned = run(ds, judge), ds.shuffle(seed=1)
    small = sel.apply(turned)
    bounds = {clip["path"]: start for clip, start in zip(sel.apply(ds)["audio"], sel.segment_start, strict=True)}
    assert {clip["path"]: start for clip, start in zip(small["audio"], small["segment_start"], strict=True)} == bounds


def test_bad_input(ds, judge, tmp_path):
    with pytest.raises(ArgumentError, match=r"Step 1 would leave 10 % of rows, and 50 % of rows are to be kept"):
        run(ds, judge, budget=0.5, coarse_budget=0.1)
    with pytest.raises(ColumnError, match="no column 'mfcc'"):
        run(words(12), judge)
    with pytest.raises(ColumnError, match="the model has no class 'shrill'"):
        run(ds.remove_columns("label").add_column("label", ["shrill"] * 60), judge)
    with pytest.raises(ArgumentError, match="need float32 or float64"):
        run(ds, (judge[0].bfloat16(), judge[1]))
    judge[0].float()


def test_the_card_says_how_it_was_made_and_carries_the_segments(ds, judge):
    from hf_select.hub.card import card_of
    from hf_select.hub.facts import config_facts

    sel = run(ds, judge)
    facts = config_facts(ds, sel, config_name="meltrim-4", source={"repo_id": "me/words", "revision": "a" * 40})
    card = card_of([facts], "me/x")
    assert "Prune rows by density, then cut what is left to the segments" in card and "wang_meltrim" in card
    assert "sel = hs.meltrim(" in card and sel.params["judge_digest"] in card and "budget=4" in card
    assert "Of each kept row one segment was chosen" in card and "most of each clip is not there" in card
