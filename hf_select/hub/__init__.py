"""Publish a selected subset on the Hub with its provenance, load it back, and verify it."""
