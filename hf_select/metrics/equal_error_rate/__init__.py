"""The `equal_error_rate` metric: module, card and app of its Space."""
