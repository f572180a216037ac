"""Where a model fails: readable subgroups of rows, how far each diverges from the whole, and whether that is chance.

conditions.py    conditions on columns, their phrases, the rows that meet them
attributes.py    columns as values or bins
outcomes.py      the outcome of each row: 0/1, numbers, rates
mining.py        all frequent combinations, and their sums
significance.py  p, q and intervals by rows; speakers.py the same by speakers
lattice.py       from a subgroup to its smaller ones: redundancy, contributions
table.py         Subgroups and Subgroup
find.py          find_subgroups
"""
