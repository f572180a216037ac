"""Every error that hf_select raises on purpose.

    HfSelectError
    ├── ArgumentError           an argument outside its legal values                (also a ValueError)
    ├── BudgetError             a budget that is none of the legal forms            (also a ValueError)
    ├── ColumnError             a column that is missing, or not what was meant     (also a ValueError)
    │   └── ConstantOutcomeError    an outcome that is the same in all rows
    ├── AudioError              sound that had to be read and could not be          (also a ValueError)
    ├── SelectionError          a Selection that does not fit, or is damaged        (also a ValueError)
    ├── DatasetError            a dataset that can't be found, read or understood   (also a ValueError)
    ├── TransformError          a transform that failed on a row                    (also a RuntimeError)
    ├── ProcessError            another process of this run died or failed          (also a RuntimeError)
    ├── HubError                the Hub refused, or could not be reached            (also an OSError)
    ├── OutputError             a place that can't be written, or is already taken  (also an OSError)
    └── MissingPackageError     an optional package that is needed here             (also an ImportError)

Each message says what is wrong, what was seen, and what to do.
"""


class HfSelectError(Exception):
    """Catch this to catch every error that hf_select raises on purpose."""


class ArgumentError(HfSelectError, ValueError):
    """An argument outside its legal values; the message lists them."""


class BudgetError(HfSelectError, ValueError):
    """A budget that is none of the legal forms, or can't be applied to this dataset."""


class ColumnError(HfSelectError, ValueError):
    """A column that is missing, already there, or not of the kind that was meant."""


class ConstantOutcomeError(ColumnError):
    """An outcome that is the same in all rows that have one, so that no subgroup diverges; `value` is that outcome."""

    def __init__(self, message: str, value: float) -> None:
        super().__init__(message)
        self.value = value


class AudioError(HfSelectError, ValueError):
    """Sound that had to be read and could not be."""


class SelectionError(HfSelectError, ValueError):
    """A Selection that does not belong to this dataset, can't be re-cut so, or is damaged on disk."""


class DatasetError(HfSelectError, ValueError):
    """A dataset that can't be found, read, or used in the way that was asked."""


class TransformError(HfSelectError, RuntimeError):
    """A transform that failed; the message names the row and the column."""


class ProcessError(HfSelectError, RuntimeError):
    """Another process of this run died or failed; the message names it and the rows it worked on."""


class HubError(HfSelectError, OSError):
    """The Hub refused what was asked, or could not be reached; the message says what to do."""


class OutputError(HfSelectError, OSError):
    """A place that can't be written to, or that already holds something else."""


class MissingPackageError(HfSelectError, ImportError):
    """An optional package that this call needs; the message names the exact install command."""
