"""The `weighted_unweighted_accuracy` metric: module, card and app of its Space."""
