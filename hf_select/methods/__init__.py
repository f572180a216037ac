"""Selectors: plain functions `select_*(ds, *, budget, ..., seed) -> Selection`. This list is where a newcomer starts.

| function | keeps | reads |
|---|---|---|
| `select_random` | rows by chance; with `per` stratified | nothing |
| `select_by_score` | the highest or lowest values of a column | one number per row |
| `select_kmeans` | of every cluster, the rows far from (or near) its centre | one vector per row |
| `select_meltrim` | of every dense cluster in two dimensions, the rows nearest to its centroid | MFCC frames, or one vector per row |
| `select_subgroups` | the rows of subgroups on which a model fails | the columns of the subgroups |
| `select_weak_clusters` | the rows near clusters in which a model fails | one vector per row, and outcomes of a validation set |
"""

from hf_select.methods.kmeans import select_kmeans
from hf_select.methods.meltrim import select_meltrim
from hf_select.methods.random import select_random
from hf_select.methods.score import select_by_score
from hf_select.methods.subgroups import select_subgroups
from hf_select.methods.weak_clusters import select_weak_clusters

__all__ = [
    "select_by_score",
    "select_kmeans",
    "select_meltrim",
    "select_random",
    "select_subgroups",
    "select_weak_clusters",
]
