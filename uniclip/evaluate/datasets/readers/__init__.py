"""Readers: one module for each format on disk. None imports numpy until a split is read."""
