"""Benchmarks: one module for each kind of evaluation data."""
