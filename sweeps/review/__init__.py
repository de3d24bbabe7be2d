"""Command lines and prices of the cells that a review proposes."""
