"""The configuration of a sweep, and the parsed request of a command line."""
