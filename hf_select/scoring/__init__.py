"""Scores from any speech model: `score` turns what a model says about each row into thin columns.

entry.py        the call `score`; request.py its arguments, run.py one run of it
model.py        loads a model safely, knows its kind, names it by a digest
columns.py      what each score means; outputs.py, frames.py, transcripts.py, targets.py make them
segments.py     which part of each clip says most
inputs.py       clips to batches; padding.py keeps a row's values its own, whatever it shares a batch with
plan.py         which rows share a batch, for any number of processes; work.py does a process's part of it
folder.py       finished chunks on disk, reload.py joins them again; summary.py says what they are
ranks.py        the processes of a run, none of which waits for a dead one; watch.py, links.py how
"""

from hf_select.scoring.columns import SCORE_COLUMNS
from hf_select.scoring.entry import plan_score, score, score_segments
from hf_select.scoring.plan import ScorePlan
from hf_select.scoring.reload import load_scores, recipe
from hf_select.scoring.summary import in_words, summarize

__all__ = [
    "SCORE_COLUMNS",
    "ScorePlan",
    "in_words",
    "load_scores",
    "plan_score",
    "recipe",
    "score",
    "score_segments",
    "summarize",
]
