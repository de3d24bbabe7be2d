"""Checkpoints: reading, importing, exporting and using weights."""
