"""Scores: from embeddings to metrics."""
