"""Encoders, heads, and the embedder that combines them."""
