"""Ways to start workers. A launcher starts jobs and says whether they live; it decides nothing."""
