"""The plan: the exact runs of an ablation."""
