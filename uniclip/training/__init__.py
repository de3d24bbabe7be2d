"""Training: the loop, its state, optimiser, metrics and checkpoints."""
