"""User-defined images and captions, listed in a CSV file."""
