"""Compare what was trained in many cells: records that survive a crash, and differences that are told from chance.

A cell is one training: a set of rows, a network, a seed. Its record is a line of JSON under a name that is a digest of
all that made it, so that a finished cell is never run again and a changed one never mistaken for it.

records.py    Records, a folder of finished cells; name_of, the digest
running.py    run_cells: what is missing is run, by one process or by several: start here; timed, seconds counted apart
cells.py      what a table of cells has to hold: columns, one cell a seed; groups of cells; sets without a value
pairs.py      Paired: one difference, seed by seed, with its interval; holm, for many of them
against.py    differences: one method against every other, as a table and in words
tables.py     mean_table, as papers have it; compare_sets, every method against one control; to_markdown
scaling.py    the exponent of the loss over the number of rows

The picture is `hf_select.report.plot_comparison`.
"""

from hf_select.compare.against import differences, differences_to_markdown
from hf_select.compare.pairs import Paired, holm, paired
from hf_select.compare.records import Records, name_of
from hf_select.compare.running import finished, run_cells, timed
from hf_select.compare.scaling import scaling_exponent, scaling_exponents
from hf_select.compare.tables import compare_sets, mean_table, to_markdown

__all__ = [
    "Paired",
    "Records",
    "compare_sets",
    "differences",
    "differences_to_markdown",
    "finished",
    "holm",
    "mean_table",
    "name_of",
    "paired",
    "run_cells",
    "scaling_exponent",
    "scaling_exponents",
    "timed",
    "to_markdown",
]
