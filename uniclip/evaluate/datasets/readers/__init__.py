"""Readers: one module for each format on disk."""
