"""Statistics: effects paired by seed, correction for multiple contrasts, and power."""
