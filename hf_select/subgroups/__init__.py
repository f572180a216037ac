"""Where a model fails: readable subgroups of rows, how far each diverges from the whole, and whether that is chance.

find.py          find_subgroups, from a dataset to a table: start here
conditions.py    a condition on a column, its phrase, the rows that meet it
attributes.py    columns as values or bins
outcomes.py      the outcome of each row: 0/1, numbers, rates
mining.py        all frequent combinations of values, as bits.py packs them
measuring.py     what their rows add up to
estimates.py     what that says: mean, divergence, t, p, q, interval
significance.py  p by rows (hypergeometric.py), by speakers in speakers.py
lattice.py       from a subgroup to its smaller ones: redundancy, contributions
table.py         Subgroups, a table of Subgroup (subgroup.py); text.py in words, stored.py on disk
kernels.py       the compiled code (compiled.py, threads.py)
"""
