"""Clusters of many vectors: a matrix in memory or on disk, worked on block by block.

| module | holds |
|---|---|
| `matrix` | the matrix: rows in memory, or in a temporary file that is read in blocks |
| `memory` | how much memory a clustering takes, and whether the matrix has to go to disk |
| `prepare` | standardising, principal components, unit length, and the number of clusters by explained variance |
| `centres` | nearest centres; means, medians and medoids; distances |
| `lloyd` | k-means++ and exact Lloyd iterations over all rows |
| `vectors` | from a column to a prepared matrix: the arguments that `select_kmeans` and `sweep_clusters` share |

Nothing here knows what is kept of a cluster: that is the selector's.
"""
