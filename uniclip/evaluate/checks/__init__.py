"""Checks of evaluation data: near-duplicates and label order."""
