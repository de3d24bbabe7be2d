"""Training: the loop, its state, optimizer, metrics and checkpoints."""
