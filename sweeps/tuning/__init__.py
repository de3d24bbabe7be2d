"""Hyper-parameter tuning: the study of each arm, and its search space."""
