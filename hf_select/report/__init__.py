"""The report on a Selection: tables, pictures, and a page of Markdown that says what was kept of what, and why.

| name | gives |
|---|---|
| `write_report` | the page `report.md` with its figures |
| `balance_table` | rows and balance of the original set and of several Selections |
| `cluster_correlations` | what clusters stand for: rank correlations with metadata |
| `plot_rows`, `plot_labels`, `plot_correlations`, `plot_sweep`, `plot_subgroups` | the pictures, one by one |
| `plot_comparison` | the picture of `hf_select.compare`: methods over k or rows, with intervals over seeds |
| `escape_markdown`, `template` | words from strangers as plain text; the templates of `hub_cards/` |
"""

from hf_select.report.comparison import plot_comparison
from hf_select.report.correlations import cluster_correlations
from hf_select.report.figures import plot_correlations, plot_labels, plot_rows
from hf_select.report.markdown import escape_markdown, template
from hf_select.report.subgroups import plot_subgroups
from hf_select.report.sweep import plot_sweep
from hf_select.report.write import balance_table, write_report

__all__ = [
    "balance_table",
    "cluster_correlations",
    "escape_markdown",
    "plot_comparison",
    "plot_correlations",
    "plot_labels",
    "plot_rows",
    "plot_subgroups",
    "plot_sweep",
    "template",
    "write_report",
]
