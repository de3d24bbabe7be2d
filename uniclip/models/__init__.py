"""Encoders, heads, the embedder that joins them, and a trained model as its users see it."""
