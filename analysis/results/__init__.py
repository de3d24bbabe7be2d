"""Results: what follows from the collected scores."""
