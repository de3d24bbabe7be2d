"""Tables of scores, effects, runs and costs."""
