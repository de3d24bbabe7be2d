"""Runs that somebody else's program trains: its command line, its log, its scores."""
