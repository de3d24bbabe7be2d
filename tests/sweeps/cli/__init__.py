"""Tests of the command line."""

OVERRIDES = ["ablation=components", "data=scenes", "budget=smoke"]
"""A sweep whose plan is built in a fraction of a second."""
