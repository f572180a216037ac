"""The `class_balance` metric: module, card and app of its Space."""
