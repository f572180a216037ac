"""A task to learn, for scripts that train and compare: rows, a classifier, and the arguments that name them.

opening.py      open_splits: a dataset as train, pool, validation and test, with columns that describe rows
classifier.py   SpeechClassifier: new models by seed (LeNets from scratch, checkpoints by name), and rows as they take them
arguments.py    the dataclasses that scripts share, under the names of the transformers example, and how they are parsed
"""

from hf_select.tasks.arguments import DataTrainingArguments, ModelArguments, knob, open_task, parse_arguments
from hf_select.tasks.classifier import SpeechClassifier
from hf_select.tasks.opening import DEMO, SECONDS, Splits, open_splits

__all__ = [
    "DEMO",
    "SECONDS",
    "DataTrainingArguments",
    "ModelArguments",
    "SpeechClassifier",
    "Splits",
    "knob",
    "open_splits",
    "open_task",
    "parse_arguments",
]
