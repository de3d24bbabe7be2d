"""Progress: the status of every cell, and how it is displayed."""
