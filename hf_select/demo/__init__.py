"""The demo: a corpus of spoken commands made on the spot (`corpus`), and the comparison that `hf-select demo` runs (`run`)."""
