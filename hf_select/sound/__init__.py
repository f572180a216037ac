"""What `hf_select.audio` stands on: own files, what containers declare, the rules for a usable clip."""
