"""The audit: whether each arm is what its name says."""
