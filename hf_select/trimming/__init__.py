"""MelTrim: rows of dense clusters, then of each the segment that says most to a judge.

steps.py    `meltrim`, both steps in one call
judge.py    `train_judge`, the classifier that says what is worth hearing

Step 1 alone is `hf_select.select_meltrim`; step 2 alone is `hf_select.score_segments`.
"""

from hf_select.trimming.judge import train_judge
from hf_select.trimming.steps import meltrim

__all__ = ["meltrim", "train_judge"]
