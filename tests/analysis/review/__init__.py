"""Tests of the checks of a review."""
