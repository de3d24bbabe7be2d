"""Bundles: the evidence of a sweep in one file, with the hash of every file in it."""
