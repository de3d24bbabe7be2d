"""Statistics: intervals, tests and their power."""
