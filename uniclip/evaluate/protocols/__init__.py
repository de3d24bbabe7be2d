"""Evaluation protocols: prompts, metrics and settings of each data set."""
