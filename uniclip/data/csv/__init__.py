"""The user's own pictures and captions, listed in a CSV file."""
