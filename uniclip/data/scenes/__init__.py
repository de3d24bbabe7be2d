"""Synthetic scenes with captions that are known to be true."""
