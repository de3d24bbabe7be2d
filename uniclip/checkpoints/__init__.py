"""Checkpoints: files of weights, their import and export, and models loaded from them."""
