"""Features: embeddings of a split, computed once."""
