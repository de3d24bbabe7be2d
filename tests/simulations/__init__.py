"""Simulations of the statistics: how often verdicts are right, and intervals cover.

`python -m tests.simulations` prints the tables; with --write it also writes docs/verdict_rates.md.
"""
