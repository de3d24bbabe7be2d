"""The page of a sweep: one HTML file with its cells, curves, scores and use of the machines."""
