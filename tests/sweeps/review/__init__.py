"""Tests of the proposals of a review."""
