"""Evaluation protocols: the published ones, and user-defined ones."""
