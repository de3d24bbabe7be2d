"""Claims: which process may run which attempt of a run."""
