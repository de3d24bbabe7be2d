"""Checks of the environment of a sweep, before it starts."""
