"""The `subgroup_divergence` metric: module, card and app of its Space."""
