"""Synthetic scenes whose captions are known to be correct."""
