"""Collection: read the runs of a sweep from the store."""
